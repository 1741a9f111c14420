"""`faces`: faces and their landmarks in images, by the three networks of MTCNN."""

import argparse
import json
import sys
import time

from .flags import positive, share


def add(commands):
    command = commands.add_parser("faces", help="find faces and five landmarks of each")
    command.add_argument(
        "images", metavar="IMAGE", nargs="+", help="image, folder, pattern such as 'a/*.jpg'"
    )
    for name, what in (("pnet", "proposes"), ("rnet", "refines"), ("onet", "has the landmarks")):
        command.add_argument(
            f"--{name}", nargs=2, required=True, metavar=("CFG", "WEIGHTS"), help=f"stage: {what}"
        )
    command.add_argument(
        "--thresh",
        nargs=3,
        type=share,
        default=(0.6, 0.7, 0.7),
        metavar=("P", "R", "O"),
        help="lowest score after each stage (default: 0.6 0.7 0.7)",
    )
    command.add_argument(
        "--smallest", type=side, default=20, metavar="PX", help="smallest face (default: 20)"
    )
    command.add_argument("--bgr", action="store_true", help="hand over blue first, as OpenCV reads")
    command.add_argument("--json", metavar="F", help="write boxes, scores, landmarks there")
    command.add_argument("--out", metavar="DIR", default="faces", help="folder of drawn images")
    command.add_argument("--no-images", action="store_true", help="draw nothing")
    command.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    command.add_argument("--threads", type=positive, help="CPU threads of the kernels")
    command.set_defaults(run=run)


def side(text):
    """A number of pixels that P-Net's window can stand for."""
    value = positive(text)
    if value < 12:
        raise argparse.ArgumentTypeError(f"expected at least 12 pixels, got {text}")
    return value


def run(args):
    from .flags import prepare

    prepare(args)
    from ..data import DataError
    from ..data.sources import expand, frames, is_video
    from ..faces import load
    from ..files import atomic
    from ..legible import shown
    from ..saving import savers

    finder = load(args.pnet, args.rnet, args.onet, args.device)
    paths = expand(args.images)
    if videos := [path for path in paths if is_video(path)]:
        raise DataError(f"{shown(videos[0])}: a video; `faces` takes images")
    drawn = savers([] if args.no_images else ["images"], args.out)
    failed, results = 0, []
    for frame in frames(paths):
        if frame.error is not None:
            failed += 1
            print(f"error: {frame.error}", file=sys.stderr)
            continue
        results.append(look(finder, frame, args))
        for saver in drawn:
            saver.add(frame, results[-1])
    if args.json:
        text = json.dumps([found.to_dict() for found in results], indent=1)
        atomic(args.json, text + "\n")
    return 1 if failed else 0


def look(finder, frame, args):
    """The faces of one image, and a line for each."""
    from ..legible import shown

    started = time.perf_counter()
    found = finder(frame.image, args.thresh, args.smallest, bgr=args.bgr)
    found.path = frame.path
    seconds = time.perf_counter() - started
    print(f"{shown(frame.path)}: {len(found)} faces in {1e3 * seconds:.1f} ms")
    if len(found):
        print(found)
    return found

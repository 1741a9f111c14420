"""`detect`: objects in images, drawn and as JSON."""

import json
import sys
import time
from pathlib import Path

from .flags import add_network, add_precision, prepare, share


def add(commands):
    command = commands.add_parser("detect", help="find objects in images")
    add_network(command)
    add_precision(command)
    command.add_argument("images", metavar="IMAGE", nargs="+")
    command.add_argument("--names", metavar="F", help="class names, one a line")
    command.add_argument("--thresh", type=share, default=0.25)
    command.add_argument("--nms", type=share, default=0.45)
    command.add_argument("--letterbox", action="store_true", help="keep the aspect ratio")
    command.add_argument("--json", metavar="F", help="write Darknet's JSON there")
    command.add_argument("--out", metavar="DIR", default="detections", help="folder for pictures")
    command.add_argument("--no-images", action="store_true", help="draw nothing")
    command.set_defaults(run=run)


def run(args):
    prepare(args)
    from .. import load
    from ..data import ImageError, read, read_names
    from ..files import atomic
    from ..legible import shown

    net = load(args.cfg, args.weights, device=args.device, strict=args.strict)
    if args.names:
        net.names = read_names(args.names)
    failed, objects = 0, []
    for number, path in enumerate(args.images, start=1):
        try:
            image = read(path)
        except ImageError as error:
            print(f"error: {error}", file=sys.stderr)
            failed += 1
            continue
        started = time.perf_counter()
        found = net.predict(
            image,
            thresh=args.thresh,
            nms=args.nms,
            letterbox=args.letterbox or None,
            precision=args.precision,
        )
        found.path = path
        print(
            f"{shown(path)}: {len(found)} objects in {1e3 * (time.perf_counter() - started):.1f} ms"
        )
        if len(found):
            print(found)
        objects.append(found.darknet_json(frame_id=number))
        if not args.no_images:
            save_drawing(found, image, Path(args.out) / (Path(path).stem + ".jpg"))
    if args.json:
        atomic(args.json, json.dumps(objects, indent=1) + "\n")
    return 1 if failed else 0


def save_drawing(found, image, path):
    """Writes the image with its boxes as JPEG."""
    from ..data.image import write

    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, found.draw(image))

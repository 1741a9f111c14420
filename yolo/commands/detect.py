"""`detect`: objects in images, folders, patterns and videos, drawn and listed."""

import argparse
import sys
import time
from itertools import islice

from .flags import add_network, add_precision, positive, prepare, share

# Every word of yolo.saving.SAVERS, which loading OpenCV just for --help would cost.
WORDS = ("images", "video", "json", "coco", "csv", "txt", "crops")


def words(text):
    """A list of words of --save."""
    chosen = [word for word in text.split(",") if word]
    if unknown := [word for word in chosen if word not in WORDS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]}: choose from {','.join(WORDS)}")
    return chosen


def add(commands):
    command = commands.add_parser("detect", help="find objects in images and videos")
    add_network(command)
    add_precision(command)
    command.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="+",
        help="image, folder, pattern such as 'a/*.jpg', video",
    )
    command.add_argument("--names", metavar="F", help="class names, one a line")
    command.add_argument("--thresh", type=share, default=0.25)
    command.add_argument("--nms", type=share, default=0.45)
    command.add_argument("--letterbox", action="store_true", help="keep the aspect ratio")
    command.add_argument("--batch", type=positive, default=1, metavar="N", help="images at a time")
    command.add_argument(
        "--save",
        type=words,
        default=["images", "video"],
        metavar="LIST",
        help=f"what to write into --out, of {','.join(WORDS)}; default images,video",
    )
    command.add_argument("--json", metavar="F", help="write Darknet's JSON of the images there")
    command.add_argument("--out", metavar="DIR", default="detections", help="folder of --save")
    command.add_argument("--no-images", action="store_true", help="draw nothing")
    command.set_defaults(run=run)


def run(args):
    prepare(args)
    from .. import load
    from ..data import read_names
    from ..data.sources import count, expand, frames
    from ..saving import savers

    net = load(args.cfg, args.weights, device=args.device, strict=args.strict)
    if args.names:
        net.names = read_names(args.names)
    paths = expand(args.sources)
    chosen = [w for w in args.save if not (args.no_images and w in ("images", "video"))]
    with Run(savers(chosen, args.out), count(paths), args.json) as work:
        stream = frames(paths)
        while batch := list(islice(stream, args.batch)):
            work.look(net, batch, args)
    return 1 if work.failed else 0


class Run:
    """What is done with each frame, and what is said about it."""

    def __init__(self, savers, total, json_path):
        from tqdm import tqdm

        self.savers, self.json_path = savers, json_path
        self.failed, self.done, self.network_seconds = 0, 0, 0.0
        self.objects = []
        live = total > 1 and sys.stderr.isatty()
        self.bar = tqdm(total=total, unit="frame", disable=not live, leave=False)

    def __enter__(self):
        self.started = time.perf_counter()
        return self

    def look(self, net, batch, args):
        """Detects in the frames that can be read, saves, reports."""
        good = [frame for frame in batch if frame.error is None]
        for frame in batch:
            if frame.error is not None:
                self.failed += 1
                self.bar.write(f"error: {frame.error}", file=sys.stderr)
        started = time.perf_counter()
        results = net.predict(
            [frame.image for frame in good],
            thresh=args.thresh,
            nms=args.nms,
            letterbox=args.letterbox or None,
            batch=args.batch,
            precision=args.precision,
        )
        seconds = time.perf_counter() - started
        self.network_seconds += seconds
        for frame, found in zip(good, results, strict=True):
            found.path = frame.path
            self.tell(frame, found, seconds / len(good))
            for saver in self.savers:
                saver.add(frame, found)
            if self.json_path and frame.number is None:
                self.objects.append(found.darknet_json(frame_id=len(self.objects) + 1))
        self.done += len(good)
        self.bar.update(len(batch))

    def tell(self, frame, found, seconds):
        """A line and a table for each image; of videos the bar and the last line say enough."""
        from ..legible import shown

        if frame.number is None:
            self.bar.write(f"{shown(frame.path)}: {len(found)} objects in {1e3 * seconds:.1f} ms")
            if len(found):
                self.bar.write(str(found))

    def __exit__(self, kind, error, trace):
        import json

        from ..files import atomic

        self.bar.close()
        for saver in self.savers:
            saver.close()
        if self.json_path:
            atomic(self.json_path, json.dumps(self.objects, indent=1) + "\n")
        if self.done > 1:
            whole = time.perf_counter() - self.started
            each = 1e3 * self.network_seconds / self.done
            print(
                f"{self.done} frames in {whole:.1f} s: {self.done / whole:.1f} a second with "
                f"reading and saving, {each:.1f} ms each for detecting"
            )

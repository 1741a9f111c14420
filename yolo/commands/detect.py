"""`detect`: objects in images, folders, videos and of cameras, drawn and listed."""

import argparse
import os
import sys
import time
from contextlib import closing
from itertools import islice

from . import detect_parts
from .flags import add_network, add_precision, name_classes, natural, positive, prepare, share

# Every word of yolo.saving.SAVERS, which loading OpenCV just for --help would cost.
WORDS = ("images", "video", "json", "coco", "csv", "txt", "crops")


def words(text):
    """A list of words of --save."""
    chosen = [word for word in text.split(",") if word]
    if unknown := [word for word in chosen if word not in WORDS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]}: choose from {','.join(WORDS)}")
    return chosen


def add(commands):
    command = commands.add_parser("detect", help="find objects in images, videos, cameras")
    add_network(command)
    add_precision(command)
    command.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="+",
        help="image, folder, pattern such as 'a/*.jpg', video; or one camera (0 is the first) or "
        "stream (rtsp://..., http://...), until Ctrl-C",
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
    detect_parts.add_flags(command)
    live = command.add_argument_group("cameras and streams")
    live.add_argument(
        "--frames",
        choices=("newest", "every"),
        default="newest",
        help="newest: drop what comes while a frame is looked at; every: the source has to wait",
    )
    live.add_argument(
        "--retries",
        type=natural,
        default=5,
        metavar="N",
        help="how often in a row a lost connection is tried again",
    )
    live.add_argument(
        "--timeout",
        type=positive,
        default=10,
        metavar="SECONDS",
        help="for a connection, and for each frame",
    )
    command.set_defaults(run=run)


def run(args):
    # What OpenCV and FFmpeg have to say about a camera that is not there is in our error.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    prepare(args)
    if args.json_dir or args.engine != "here":
        return detect_parts.run(args)
    from .. import load
    from ..data.sources import count, expand, frames
    from ..saving import savers
    from ..train.stop import Stop

    net = load(args.cfg, args.weights, device=args.device, strict=args.strict)
    if args.names:
        name_classes(net, args.names)
    live = live_source(args)
    paths = [] if live else expand(args.sources)
    stream = iter(live) if live else frames(paths)
    total = None if live else count(paths)
    chosen = [w for w in args.save if not (args.no_images and w in ("images", "video"))]
    work = Run(savers(chosen, args.out), total, args.json, live)
    with Stop() as stop, work, closing(stream):
        for batch in batches(stop, stream, args.batch):
            work.look(net, batch, args)
    if stop.signal is not None:
        print(f"{stop.name}: stopped, what was found is saved", file=sys.stderr)
        return stop.exit_code
    return 1 if work.failed else 0


def live_source(args):
    """The Live of the one camera or stream that is asked for, or None."""
    from ..data.live import Live, SourceError, is_live

    if not any(map(is_live, args.sources)):
        return None
    if len(args.sources) > 1:
        raise SourceError("a camera or stream has no end, so it is the only source of a detect")
    return Live(args.sources[0], args.frames, args.retries, args.timeout)


def batches(stop, stream, number):
    """Lists of up to `number` frames, until the last one, a signal, or a camera that is gone; what
    came before that is given first."""
    from ..data.live import SourceError
    from ..train.stop import Interrupted

    batch, failure = [None] * number, None
    while failure is None and len(batch) == number:
        batch = []
        try:
            with stop.at_once():
                for frame in islice(stream, number):
                    batch.append(frame)
        except (Interrupted, SourceError) as error:
            failure = error
        if batch:
            yield batch
    if isinstance(failure, SourceError):
        raise failure


class Run:
    """What is done with each frame, and what is said about it."""

    def __init__(self, savers, total, json_path, live=None):
        """total: frames there are, None: nobody knows; live: the Live they come from."""
        from tqdm import tqdm

        self.savers, self.json_path, self.live = savers, json_path, live
        self.failed, self.done, self.network_seconds = 0, 0, 0.0
        self.objects = []
        shows = total != 1 and sys.stderr.isatty()
        self.bar = tqdm(total=total, unit="frame", disable=not shows, leave=False)

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
            good,
            thresh=args.thresh,
            nms=args.nms,
            letterbox=args.letterbox or None,
            batch=args.batch,
            precision=args.precision,
        )
        seconds = time.perf_counter() - started
        self.network_seconds += seconds
        for frame, found in zip(good, results, strict=True):
            self.tell(frame, found, seconds / len(good))
            for saver in self.savers:
                saver.add(frame, found)
            if self.json_path and frame.number is None:
                self.objects.append(found.darknet_json(frame_id=len(self.objects) + 1))
        self.done += len(good)
        if self.live:
            self.bar.set_postfix_str(f"{self.live.dropped} dropped", refresh=False)
        self.bar.update(len(batch))

    def tell(self, frame, found, seconds):
        """A line and a table for each image; of the rest the bar and the last line say enough."""
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
        if self.done > 1 or (self.live and self.done):
            whole = time.perf_counter() - self.started
            each = 1e3 * self.network_seconds / self.done
            print(
                f"{self.done} frames in {whole:.1f} s: {self.done / whole:.1f} a second with "
                f"reading and saving, {each:.1f} ms each for detecting"
            )
        if self.live and self.done:
            dropped = self.live.captured - self.done
            print(
                f"{self.live.path} gave {self.live.captured} frames, {dropped} were dropped; "
                f"connected again {self.live.reconnections} times"
            )

"""Command line: `python -m yolo COMMAND ...`. Parses flags, calls the package, prints.

Exit codes: 0 done, 1 bad input or failure (one line on stderr), 2 wrong usage, 130 interrupted.
"""

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path

from tqdm import tqdm

# Threads of OpenMP (PyTorch's own operators) that wait by spinning take the cores from our kernels
# and from the loader. It is read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(argv=None):
    """Runs one command; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            return args.run(args) or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except expected_errors() as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def show_warning(message, category, *_):
    """What is said about a user's files, in one line; other packages' notes are not for users."""
    if category.__module__.startswith("yolo."):
        print(f"warning: {message}", file=sys.stderr)


def expected_errors():
    """The typed errors that bad input raises; anything else is a fault of ours and shows itself."""
    from .cfg import CfgError
    from .data import DataError, ImageError, LabelError
    from .train import TrainError
    from .weights import WeightsError

    return (CfgError, DataError, ImageError, LabelError, TrainError, WeightsError, OSError)


def parser():
    """All commands and their flags."""
    top = argparse.ArgumentParser(prog="python -m yolo", description=__doc__.split("\n")[0])
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_summary(commands)
    add_train(commands)
    add_detect(commands)
    add_map(commands)
    return top


def positive(text):
    """An integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text}")
    return value


def share(text):
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text}")
    return value


def add_network(command, weights=True):
    """Arguments that commands which run a network share."""
    command.add_argument("cfg", metavar="CFG", help="network description")
    if weights:
        command.add_argument("weights", metavar="WEIGHTS", help="weight file")
    command.add_argument("--strict", action="store_true", help="unknown cfg keys are errors")
    command.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    command.add_argument("--threads", type=positive, help="CPU threads of the kernels")


def prepare(args):
    """Applies --threads and checks --device."""
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise OSError("--device cuda: this machine, or this build of torch, has no CUDA device")


# --- summary


def add_summary(commands):
    command = commands.add_parser("summary", help="print a network's layers, size and cost")
    add_network(command, weights=False)
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_argument("--plan", action="store_true", help="also the kernel of each layer")
    command.set_defaults(run=run_summary)


def run_summary(args):
    prepare(args)
    from . import load

    net = load(args.cfg, strict=args.strict)
    print(json.dumps(net.summary_dict(), indent=1) if args.json else net.summary())
    if args.plan and not args.json:
        from .plan import Plan

        print(f"\nInference on the CPU, one image:\n{Plan(net).describe()}")


# --- train


def add_train(commands):
    command = commands.add_parser("train", help="train a network")
    add_network(command, weights=False)
    command.add_argument("--data", metavar="F", help=".data file; without it: drawn shapes")
    command.add_argument("--weights", metavar="F", help="start from these (partial files too)")
    command.add_argument("--clear", action="store_true", help="count iterations from 0 again")
    command.add_argument("--out", metavar="DIR", help="default: backup of the .data, or runs/NAME")
    command.add_argument("--iterations", type=positive, metavar="N", help="instead of max_batches")
    command.add_argument("--batch", type=positive, metavar="N")
    command.add_argument("--subdivisions", type=positive, metavar="N")
    command.add_argument("--width", type=positive, metavar="N")
    command.add_argument("--height", type=positive, metavar="N")
    command.add_argument("--classes", type=positive, metavar="N", help="also sets head filters")
    command.add_argument("--anchors", action="store_true", help="fit the anchors to the data")
    command.add_argument("--learning-rate", type=float, metavar="X")
    command.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="any key of [net]"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N")
    command.add_argument("--workers", type=int, metavar="N", help="loader processes; 0: none")
    command.add_argument(
        "--precision",
        choices=("fast", "exact"),
        default="fast",
        help="fast: 3x3 convolutions on the CPU by Winograd, errors of 4e-6 instead of 1e-6",
    )
    command.add_argument("--map", action="store_true", help="measure mAP on the valid list")
    command.set_defaults(run=run_train)


def run_train(args):
    prepare(args)
    from . import job

    return job.run(args, console=Console())


class Console:
    """What a run says: on a terminal a bar that is redrawn, elsewhere a line every few seconds."""

    def __init__(self, stream=None, every=5.0):
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.every, self.printed, self.bar = every, 0.0, None

    def say(self, text):
        """A line that stays."""
        tqdm.write(text, file=self.stream)
        self.stream.flush()

    def progress(self, done, total, text, stays=False):
        """Where the run stands; `stays` keeps the line."""
        now = time.monotonic()
        if stays or (not self.live and now - self.printed >= self.every):
            self.printed = now
            self.say(f"{done}/{total}  {text}")
        if self.live:
            if self.bar is None:
                form = "{n_fmt}/{total_fmt} {bar} {postfix}"
                self.bar = tqdm(total=total, file=self.stream, bar_format=form, leave=False)
            self.bar.n = done
            self.bar.set_postfix_str(text)


# --- detect


def add_detect(commands):
    command = commands.add_parser("detect", help="find objects in images")
    add_network(command)
    command.add_argument("images", metavar="IMAGE", nargs="+")
    command.add_argument("--names", metavar="F", help="class names, one a line")
    command.add_argument("--thresh", type=share, default=0.25)
    command.add_argument("--nms", type=share, default=0.45)
    command.add_argument("--letterbox", action="store_true", help="keep the aspect ratio")
    command.add_argument("--json", metavar="F", help="write Darknet's JSON there")
    command.add_argument("--out", metavar="DIR", default="detections", help="folder for pictures")
    command.add_argument("--no-images", action="store_true", help="draw nothing")
    command.set_defaults(run=run_detect)


def run_detect(args):
    prepare(args)
    from . import load
    from .data import ImageError, read, read_names
    from .files import atomic

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
            image, thresh=args.thresh, nms=args.nms, letterbox=args.letterbox or None
        )
        found.path = path
        print(f"{path}: {len(found)} objects in {1e3 * (time.perf_counter() - started):.1f} ms")
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
    from .data.image import write

    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, found.draw(image))


# --- map


def add_map(commands):
    command = commands.add_parser("map", help="mean average precision, as Darknet computes it")
    add_network(command)
    command.add_argument("--data", metavar="F", required=True, help=".data file")
    command.add_argument("--iou", type=share, default=0.5)
    command.add_argument("--points", type=int, choices=(0, 11, 101), default=0)
    command.add_argument("--thresh", type=share, default=0.25)
    command.add_argument("--json", metavar="F", help="write the numbers there")
    command.set_defaults(run=run_map)


def run_map(args):
    prepare(args)
    from . import load
    from .evaluate import evaluate
    from .files import atomic
    from .job import detector_classes, open_part

    net = load(args.cfg, args.weights, device=args.device, strict=args.strict)
    valid = open_part(args.data, "valid", detector_classes(net))
    result = evaluate(net, valid, iou=args.iou, points=args.points, thresh=args.thresh)
    print(result.report(valid.names))
    if args.json:
        atomic(args.json, json.dumps(result.to_dict(), indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

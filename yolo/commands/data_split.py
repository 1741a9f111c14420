"""`data split`: one list of images divided into train and valid."""

import argparse
from pathlib import Path

from .console import Console


def between(text):
    """A share above 0 and below 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and below 1, got {text}")
    return value


def add(commands):
    command = commands.add_parser("split", help="divide a list of images into train and valid")
    command.add_argument("data", metavar="FILE", help="a .data file, whose train list is taken")
    command.add_argument("--out", metavar="DIR", required=True, help="folder of the new lists")
    command.add_argument("--valid", type=between, default=0.2, help="share held out, default 0.2")
    command.add_argument("--seed", type=int, default=0, metavar="N")
    command.add_argument(
        "--no-stratify", action="store_true", help="take no care that classes are shared alike"
    )
    command.add_argument("--overwrite", action="store_true", help="replace lists that exist")
    command.set_defaults(run=run)


def run(args):
    import sys

    from ..data import Dataset
    from ..data.split import divide, write
    from ..legible import shown

    console = Console(sys.stderr, at_once=False)
    dataset = Dataset.from_data(args.data)
    train, valid = divide(
        dataset,
        args.valid,
        abs(args.seed),
        not args.no_stratify,
        lambda done, total: console.progress(done, total, "images"),
    )
    console.clear()
    parts = {"train": train, "valid": valid}
    written = write(dataset, parts, args.out, Path(args.data).stem, args.overwrite)
    print(f"{len(train)} images to train on, {len(valid)} to measure on: {shown(written)}")

"""`train`: flags of a training run; `yolo.job` says what they mean."""

import argparse

from .console import RankConsole
from .flags import (
    add_network,
    add_precision,
    add_rank_timeout,
    natural,
    positive,
    prepare,
    ranges,
    size,
)

PATIENCE = "with --map: end after N measurements without a better one"
AUTO_BATCH = "as few subdivisions as fit into memory; the batch stays as it is"
ON_NAN = "at a loss or gradient that is not finite: stop (default), or skip the iteration"
RESUME = "go on from this checkpoint; without CKPT from the newest good one in the output folder"
CACHE = "keep decoded images in so much memory, shared by the workers: 500M, 8G"
SAVE = "iterations between checkpoints; default: savelast of the .data file, or 100"
LOG_GRADIENTS = "write each layer's gradient norm every N iterations: OUT/gradients.csv"
GRAPH = "with --device cuda: layers as CUDA graphs, one pair for each size of the input"
AGAIN = "less memory for a third more time: outputs of layers are computed again in backward"
KEEP = "older checkpoints to keep (default: 1)"
GPUS = "train on these GPUs of this machine, one process each, through torchrun"
SYNC_BN = "under torchrun: batch normalisation over the images of all processes"
BF16 = "under torchrun: gradients travel as bfloat16, half the bytes"


def add(commands):
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
    command.add_argument("--freeze", type=positive, metavar="N", help="keep the first N layers")
    command.add_argument("--seed", type=natural, metavar="N", help="default: 0")
    command.add_argument("--workers", type=int, metavar="N", help="loader processes; 0: none")
    command.add_argument("--cache-images", type=size, metavar="SIZE", help=CACHE)
    add_precision(command)
    command.add_argument("--map", action="store_true", help="measure mAP on the valid list")
    command.add_argument("--patience", type=positive, metavar="N", help=PATIENCE)
    command.add_argument("--max-hours", type=hours, metavar="X", help="end after this time")
    command.add_argument("--graph", action="store_true", help=GRAPH)
    command.add_argument("--auto-batch", action="store_true", help=AUTO_BATCH)
    command.add_argument("--on-nan", choices=("stop", "skip"), help=ON_NAN)
    command.add_argument("--tensorboard", action="store_true", help="also write OUT/tensorboard")
    command.add_argument("--log-gradients", type=positive, metavar="N", help=LOG_GRADIENTS)
    _add_resume(command)
    _add_ranks(command)
    command.set_defaults(run=run, command_parser=command)


def _add_resume(command):
    begin = command.add_mutually_exclusive_group()
    begin.add_argument("--resume", nargs="?", const="", metavar="CKPT", help=RESUME)
    begin.add_argument("--fresh", action="store_true", help="write over an unfinished training")
    command.add_argument("--save-every", type=positive, metavar="N", help=SAVE)
    command.add_argument("--keep", type=natural, default=1, metavar="N", help=KEEP)


def _add_ranks(command):
    command.add_argument("--gpus", type=ranges, metavar="0,1", help=GPUS)
    command.add_argument("--sync-bn", action="store_true", help=SYNC_BN)
    command.add_argument("--bf16-gradients", action="store_true", help=BF16)
    command.add_argument("--checkpoint-activations", action="store_true", help=AGAIN)
    add_rank_timeout(command)


def hours(text):
    """A time above 0."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def run(args):
    if args.gpus:
        args.device = "cuda"
    if args.graph and args.device != "cuda":
        args.command_parser.error("--graph: CUDA graphs are for a GPU; add --device cuda")
    if args.graph and (args.checkpoint_activations or args.sync_bn):
        other = "--sync-bn" if args.sync_bn else "--checkpoint-activations"
        args.command_parser.error(f"--graph does not go with {other}")
    prepare(args, training=True)
    from .. import job, ranks

    if args.gpus:
        code = ranks.launch(args.gpus, args.argv)
        if code is not None:
            return code
    with ranks.joined(args.rank_timeout, args.device), ranks.collect():
        return job.run(args, console=RankConsole())

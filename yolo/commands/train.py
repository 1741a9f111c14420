"""`train`: flags of a training run; `yolo.job` says what they mean."""

from .console import Console
from .flags import add_network, add_precision, positive, prepare


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
    command.add_argument("--seed", type=int, default=0, metavar="N")
    command.add_argument("--workers", type=int, metavar="N", help="loader processes; 0: none")
    add_precision(command)
    command.add_argument("--map", action="store_true", help="measure mAP on the valid list")
    command.set_defaults(run=run)


def run(args):
    prepare(args, training=True)
    from .. import job

    return job.run(args, console=Console())

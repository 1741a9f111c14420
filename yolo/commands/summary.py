"""`summary`: a network's layers, size and cost."""

import json

from .flags import add_network, prepare


def add(commands):
    command = commands.add_parser("summary", help="print a network's layers, size and cost")
    add_network(command, weights=False)
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_argument(
        "--plan",
        nargs="?",
        const="inference",
        choices=("inference", "training"),
        help="also the kernel of each layer in inference (default) or in each pass of training",
    )
    command.set_defaults(run=run)


def run(args):
    prepare(args)
    from .. import load

    net = load(args.cfg, strict=args.strict)
    print(json.dumps(net.summary_dict(), indent=1) if args.json else net.summary())
    if args.json or not args.plan:
        return
    if args.plan == "training":
        from ..plan import training

        table = training.describe(net, net.options.mini_batch)
        print(f"\nTraining on the CPU, a mini-batch:\n{table}")
    else:
        from ..plan import Plan

        print(f"\nInference on the CPU, one image:\n{Plan(net).describe()}")

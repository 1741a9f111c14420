"""`summary`: a network's layers, size and cost."""

import json

from .flags import add_network, prepare


def add(commands):
    command = commands.add_parser("summary", help="print a network's layers, size and cost")
    add_network(command, weights=False)
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_argument("--plan", action="store_true", help="also the kernel of each layer")
    command.set_defaults(run=run)


def run(args):
    prepare(args)
    from .. import load

    net = load(args.cfg, strict=args.strict)
    print(json.dumps(net.summary_dict(), indent=1) if args.json else net.summary())
    if args.plan and not args.json:
        from ..plan import Plan

        print(f"\nInference on the CPU, one image:\n{Plan(net).describe()}")

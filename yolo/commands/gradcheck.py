"""`gradcheck`: numerical against our gradients, for every layer of a cfg."""

import json

from .flags import positive, ranges


def add(commands):
    command = commands.add_parser("gradcheck", help="compare gradients with differences")
    command.add_argument("cfg", metavar="CFG", help="network description")
    command.add_argument("--weights", metavar="F", help="take these instead of initial values")
    command.add_argument("--layers", type=ranges, metavar="LIST", help="such as 0,3-5; default all")
    command.add_argument("--images", type=positive, default=4, metavar="N")
    command.add_argument(
        "--size", type=positive, metavar="N", help="height and width (default: 64, or the cfg's)"
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_argument("--strict", action="store_true", help="unknown cfg keys are errors")
    command.set_defaults(run=run)


def run(args):
    from .. import load
    from ..cfg import CfgError
    from ..gradcheck import SIDE, as_dicts, check_network, failures, report

    net = load(args.cfg, args.weights, strict=args.strict)
    if args.size:
        net.resize(args.size, args.size)
    elif min(net.input_shape[1:]) > SIDE:
        size = net.input_shape[1:]
        try:
            net.resize(SIDE, SIDE)
        except CfgError:  # it keeps its size: [connected], [local]
            net.resize(*size)
    last = len(net.layers) - 1
    if args.layers and max(args.layers) > last:
        raise net.sections[0].error(
            f"--layers names layer {max(args.layers)}, the last one is {last}"
        )
    rows = check_network(net, args.layers, args.images, args.seed)
    print(json.dumps(as_dicts(rows), indent=1) if args.json else report(rows))
    return 1 if failures(rows) else 0

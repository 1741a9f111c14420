"""`map`: mean average precision of a network on a data set."""

import json

from .flags import add_network, add_precision, prepare, share


def add(commands):
    command = commands.add_parser("map", help="mean average precision, as Darknet computes it")
    add_network(command)
    add_precision(command)
    command.add_argument("--data", metavar="F", required=True, help=".data file")
    command.add_argument("--iou", type=share, default=0.5)
    command.add_argument("--points", type=int, choices=(0, 11, 101), default=0)
    command.add_argument("--thresh", type=share, default=0.25)
    command.add_argument("--json", metavar="F", help="write the numbers there")
    command.set_defaults(run=run)


def run(args):
    prepare(args)
    from .. import load
    from ..evaluate import evaluate
    from ..files import atomic
    from ..job import detector_classes, open_part

    net = load(args.cfg, args.weights, device=args.device, strict=args.strict)
    valid = open_part(args.data, "valid", detector_classes(net))
    limits = {"iou": args.iou, "points": args.points, "thresh": args.thresh}
    result = evaluate(net, valid, **limits, precision=args.precision)
    print(result.report(valid.names))
    if args.json:
        atomic(args.json, json.dumps(result.to_dict(), indent=1) + "\n")

"""`trace`: activations and gradients of one image, layer by layer."""

import json

from .flags import add_network, prepare, share


def add(commands):
    command = commands.add_parser("trace", help="activations and gradients of an image, by layer")
    add_network(command)
    command.add_argument("image", metavar="IMAGE")
    command.add_argument("--thresh", type=share, default=0.25)
    command.add_argument("--letterbox", action="store_true", help="keep the aspect ratio")
    command.add_argument("--out", metavar="F", default="trace.png", help="where the picture goes")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.set_defaults(run=run)


def run(args):
    prepare(args)
    from .. import load
    from ..trace import draw, report, trace

    net = load(args.cfg, args.weights, device=args.device, strict=args.strict)
    traced = trace(net, args.image, args.thresh, args.letterbox or None)
    draw(traced, args.out)
    numbers = [layer.to_dict() for layer in traced.layers]
    print(json.dumps(numbers, indent=1) if args.json else f"{report(traced)}\npicture: {args.out}")

"""`benchmark`: a network in every program that is installed, images a second and agreement."""

import json
from dataclasses import asdict

from .flags import add_network, positive, prepare


def add(commands):
    command = commands.add_parser(
        "benchmark", help="speed and agreement of ours and of other programs"
    )
    add_network(command, weights=False)
    command.add_argument(
        "weights", metavar="WEIGHTS", nargs="?", help="without: random, and no detections compared"
    )
    command.add_argument("--batch", type=positive, default=1, metavar="N", help="images at a time")
    command.add_argument("--width", type=positive, metavar="N")
    command.add_argument("--height", type=positive, metavar="N")
    command.add_argument("--repeats", type=positive, default=7, metavar="N", help="timed rounds")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.set_defaults(run=run)


def run(args):
    prepare(args)
    import torch

    from .. import load
    from ..errors import YoloError

    try:
        from ..benchmark import benchmark, report
    except ImportError as error:
        raise YoloError(
            f"benchmark needs {error.name}: pip install 'darknet-torch[export]'"
        ) from None
    net = load(args.cfg, args.weights, device=args.device, strict=args.strict)
    if args.weights is None:
        level_variances(net)
    if args.width or args.height:
        net.resize(args.height or net.input_shape[1], args.width or net.input_shape[2])
    decodes = any(hasattr(net.layers[index], "decode") for index in net.heads)
    rows = benchmark(net, args.batch, args.repeats, decodes and args.weights is not None)
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        size = "x".join(map(str, net.input_shape[1:]))
        threads = f", {torch.get_num_threads()} threads" if args.device == "cpu" else ""
        print(f"{args.cfg} {size}, batch {args.batch}, {args.device}{threads}\n{report(rows)}")
    return 1 if any(row.agrees is False for row in rows) else 0


def level_variances(net):
    """Random weights need rolling variances that keep the size of values from layer to layer;
    Darknet's initial 0 makes them overflow."""
    for name, buffer in net.named_buffers():
        if name.endswith("rolling_var"):
            buffer.fill_(1 / 3)

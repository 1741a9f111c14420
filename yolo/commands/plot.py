"""`plot`: pictures of a network, of what it does with an image, and of its training."""

from pathlib import Path

from .flags import add_network, prepare, share

KINDS = ("graph", "filters", "maps", "heat", "gradients")


def add(commands):
    command = commands.add_parser("plot", help="graph, filters, feature maps, heat map, gradients")
    add_network(command, weights=False)
    command.add_argument("weights", metavar="WEIGHTS", nargs="?", help="for all but the graph")
    command.add_argument("image", metavar="IMAGE", nargs="?", help="for maps and heat")
    command.add_argument(
        "--what",
        choices=KINDS,
        default="graph",
        help="layers, shapes and sources as SVG; a layer's weights; a layer's output; where in the "
        "image a change moves the detections; the gradients.csv of a training (given as CFG)",
    )
    command.add_argument("--layer", type=int, metavar="N", help="of filters and maps; default: 0")
    command.add_argument(
        "--detection", type=int, metavar="N", help="of heat: the N-th surest one alone, from 1"
    )
    command.add_argument("--thresh", type=share, default=0.25, help="of heat")
    command.add_argument("--letterbox", action="store_true", help="keep the aspect ratio")
    command.add_argument("--out", metavar="F", help="default: NAME-WHAT.svg or .png, gradients.png")
    command.set_defaults(run=run)


def run(args):
    prepare(args)
    from .. import load
    from ..view.tiles import PlotError

    needed = {"filters": ("weights",), "maps": ("weights", "image"), "heat": ("weights", "image")}
    lacks = [n.upper() for n in needed.get(args.what, ()) if getattr(args, n) is None]
    if lacks:
        raise PlotError(f"--what {args.what} needs {' and '.join(lacks)}")
    of_file = args.what == "gradients"
    net = None if of_file else load(args.cfg, args.weights, args.device, args.strict)
    extension = "svg" if args.what == "graph" else "png"
    name = args.what if of_file else f"{Path(args.cfg).stem}-{args.what}"
    out = Path(args.out or f"{name}.{extension}")
    if out.suffix.lower() not in ("", f".{extension}"):
        raise PlotError(f"--out {out}: --what {args.what} is written as .{extension}")
    out.parent.mkdir(parents=True, exist_ok=True)
    DRAW[args.what](net, args, out)
    print(f"picture: {out}")


def graph(net, args, out):
    from ..files import atomic
    from ..view.graph import svg

    atomic(out, svg(net))


def filters(net, args, out):
    from ..view import tiles

    tiles.save(*tiles.filters(net, args.layer), out)


def maps(net, args, out):
    from ..view import tiles

    tiles.save(*tiles.maps(net, args.image, args.layer, args.letterbox or None), out)


def heat(net, args, out):
    from ..trace import draw_heat_alone, trace

    draw_heat_alone(
        trace(net, args.image, args.thresh, args.letterbox or None, args.detection), out
    )


def gradients(net, args, out):
    from ..view import gradients

    gradients.draw(args.cfg, out)


DRAW = {"graph": graph, "filters": filters, "maps": maps, "heat": heat, "gradients": gradients}

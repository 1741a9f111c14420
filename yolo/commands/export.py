"""`export`: a network as an ONNX file, which is run and compared before it is left."""

from pathlib import Path

from .flags import add_network, name_classes, positive, share


def add(commands):
    command = commands.add_parser("export", help="write a network for other programs")
    add_network(command)
    command.add_argument("--to", choices=("onnx",), default="onnx")
    command.add_argument("--out", metavar="F", help="default: the cfg's name, with .onnx")
    command.add_argument(
        "--nodes",
        choices=("heads", "boxes", "detections"),
        default="heads",
        help="what comes out: Darknet's outputs, decoded boxes and scores, or what is left of them",
    )
    command.add_argument("--batch", type=positive, default=1, metavar="N")
    command.add_argument("--dynamic-batch", action="store_true", help="any number of images")
    command.add_argument("--width", type=positive, metavar="N")
    command.add_argument("--height", type=positive, metavar="N")
    command.add_argument("--opset", type=positive, default=18, metavar="N")
    command.add_argument("--fp16", action="store_true", help="half-precision weights and sums")
    command.add_argument("--thresh", type=share, default=0.25, help="of --nodes detections")
    command.add_argument("--nms", type=share, default=0.45, help="of --nodes detections")
    command.add_argument("--names", metavar="F", help="class names, one a line, for the metadata")
    command.add_argument("--data-metadata", metavar="F", help="a .data file, for the metadata")
    command.add_argument(
        "--check",
        metavar="LIST",
        help="programs that must agree: onnxruntime,opencv,openvino; default: those installed",
    )
    command.set_defaults(run=run)


def run(args):
    from .. import load
    from ..export import to_onnx

    net = load(args.cfg, args.weights, strict=args.strict)
    if args.width or args.height:
        net.resize(args.height or net.input_shape[1], args.width or net.input_shape[2])
    facts = metadata(net, args)
    out = Path(args.out or Path(args.cfg).with_suffix(".onnx").name)
    agreed = to_onnx(
        net,
        out,
        args.nodes,
        None if args.dynamic_batch else args.batch,
        args.opset,
        args.fp16,
        args.thresh,
        args.nms,
        facts,
        args.check.split(",") if args.check else None,
    )
    for name, worst in agreed.items():
        print(f"{name}: " + ("same detections" if worst is None else f"agrees to {worst:.1e}"))
    print(f"{out}: {args.nodes}, opset {args.opset}, {out.stat().st_size / 1e6:.1f} MB")


def metadata(net, args):
    """Names for the graph, from --names or the .data file, and what that file says."""
    from ..data import DataFile

    facts = {}
    if args.data_metadata:
        data = DataFile.read(args.data_metadata)
        net.names = data.names()
        facts["data"] = Path(args.data_metadata).name
        facts["classes"] = str(data.classes)
    if args.names:
        name_classes(net, args.names)
    return facts

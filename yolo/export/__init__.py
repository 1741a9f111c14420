"""A network in other programs' formats."""

from pathlib import Path

from ..errors import YoloError


def to_onnx(args):
    """`python -m yolo export`: writes the file once it agrees with the network."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise YoloError(f"export needs {error.name}: pip install 'darknet-torch[export]'") from None
    from .. import load
    from ..files import atomic
    from .check import PROGRAMS, check
    from .graph import ExportError
    from .half import halved
    from .onnx import model

    programs = args.check.split(",") if args.check else None
    if unknown := set(programs or ()) - set(PROGRAMS):
        raise ExportError(f"--check {', '.join(unknown)}: choose from {', '.join(PROGRAMS)}")
    net = load(args.cfg, args.weights, strict=args.strict)
    if args.width or args.height:
        net.resize(args.height or net.input_shape[1], args.width or net.input_shape[2])
    facts = metadata(net, args)
    batch = None if args.dynamic_batch else args.batch
    made = model(net, batch, args.nodes, args.opset, args.thresh, args.nms, facts)
    precision = "fp16" if args.fp16 else "fp32"
    if args.fp16:
        made = halved(made)
    agreed = check(net, made, args.nodes, batch, precision, args.thresh, args.nms, programs)
    out = Path(args.out or Path(args.cfg).with_suffix(".onnx").name)
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic(out, made.SerializeToString())
    for name, worst in agreed.items():
        print(f"{name}: " + ("same detections" if worst is None else f"agrees to {worst:.1e}"))
    print(f"{out}: {args.nodes}, opset {args.opset}, {out.stat().st_size / 1e6:.1f} MB")


def metadata(net, args):
    """Names for the graph, from --names or the .data file, and what that file says."""
    from ..data import DataFile, read_names

    facts = {}
    if args.data_metadata:
        data = DataFile.read(args.data_metadata)
        net.names = data.names()
        facts["data"] = Path(args.data_metadata).name
        facts["classes"] = str(data.classes)
    if args.names:
        net.names = read_names(args.names)
    return facts

"""`weights ...`: what a file of trained values holds, and Darknet's tools that change one."""

from pathlib import Path

from .flags import positive

CHANGES = {
    "rescale": "for a network trained on inputs of -1..1: takes 0..1",
    "rgbgr": "swaps red and blue in what the first layer reads",
    "reset": "puts the statistics of batch normalisation into the weights",
}


def add(commands):
    top = commands.add_parser("weights", help="look into files of trained values, convert, change")
    parts = top.add_subparsers(dest="part", required=True, metavar="TOOL")

    info = parts.add_parser("info", help="what a file holds, or where published weights are")
    info.add_argument("source", metavar="FILE|NAME")
    info.add_argument("cfg", metavar="CFG", nargs="?", help="the network that it is for")
    info.add_argument("--download", metavar="TO", help="fetch the published weights NAME")
    info.set_defaults(run=run_info)

    convert = _tool(
        parts, "convert", run_convert, ".weights <-> .safetensors, MTCNN's .npz -> both"
    )
    convert.add_argument(
        "--partial", action="store_true", help="take what fits, and say what does not"
    )
    partial = _tool(parts, "partial", run_partial, "the first N layers, to start a training from")
    partial.add_argument("layers", metavar="N", type=positive)
    for name, what in CHANGES.items():
        _tool(parts, name, run_change, what)
    fuse = _tool(parts, "fuse", run_fuse, "folds batch normalisation into the weights")
    fuse.add_argument("out_cfg", metavar="OUT_CFG", help="the network without it")

    average = parts.add_parser("average", help="the mean of several files")
    average.add_argument("cfg", metavar="CFG")
    average.add_argument("out", metavar="OUT")
    average.add_argument("files", metavar="FILE", nargs="+")
    average.set_defaults(run=run_average)


def _tool(parts, name, run, what):
    tool = parts.add_parser(name, help=what)
    tool.add_argument("cfg", metavar="CFG")
    tool.add_argument("file", metavar="FILE")
    tool.add_argument("out", metavar="OUT")
    tool.set_defaults(run=run)
    return tool


def _network(cfg):
    from ..cfg import read
    from ..network import Network

    return Network(read(cfg))


def _loaded(args):
    from ..weights import load

    net = _network(args.cfg)
    load(net, args.file, strict=True)
    return net


def run_info(args):
    from ..weights import registry

    if args.download:
        entry = registry.find(args.source)
        path = registry.download(entry, args.download)
        print(f"{path}: {entry.name}, {path.stat().st_size} bytes")
        if entry.sha256 is None:
            print(f"its sha256, to which there is none to compare: {registry.sha256(path)}")
    elif Path(args.source).exists():
        _describe(args.source, args.cfg)
    else:
        entry = registry.find(args.source)
        facts = {"cfg": entry.cfg, "MiB": entry.mib, "bytes": entry.bytes, "sha256": entry.sha256}
        lines = [f"  {key}: {value}" for key, value in facts.items() if value is not None]
        print("\n".join([f"{entry.name}: {entry.url}", *lines]))


def _describe(path, cfg):
    from ..weights import count, registry, tensors
    from ..weights.darknet import begin, coverage

    digest = registry.sha256(path)
    print(f"{path}: {Path(path).stat().st_size} bytes, sha256 {digest}")
    known = [e.name for e in registry.entries().values() if e.sha256 == digest]
    if known:
        print(f"  the published weights {known[0]}")
    if Path(path).suffix.lower() == tensors.SUFFIX:
        values, metadata = tensors.read(path)
        print(f"  {len(values)} tensors, {sum(t.numel() for t in values.values())} values")
        print("".join(f"  {key}: {value}\n" for key, value in sorted(metadata.items())), end="")
        if cfg:
            print(tensors.compare(_network(cfg), values))
        return
    with open(path, "rb") as file:
        header, found = begin(file, path)
    version = ".".join(map(str, header.version))
    print(f"  version {version}, {header.seen} images seen, {found} values")
    if cfg:
        net = _network(cfg)
        print(f"  {cfg} needs {count(net)} values: {coverage(net, path)}")


def run_convert(args):
    from ..weights import darknet, mtcnn, save, tensors

    net = _network(args.cfg)
    version = darknet.VERSION
    kind = Path(args.file).suffix.lower()
    if kind == tensors.SUFFIX:
        print(tensors.load(net, args.file, partial=args.partial))
        version = tensors.version_of(args.file)
    elif kind == mtcnn.SUFFIX:
        mtcnn.load(net, args.file)
    else:
        darknet.load(net, args.file, strict=not args.partial)
        version = darknet.header_of(args.file).version
        print(darknet.coverage(net, args.file))
    save(net, args.out, version=version)
    print(f"{args.out}: {Path(args.out).stat().st_size} bytes")


def run_partial(args):
    from ..weights import WeightsError, darknet

    net = _network(args.cfg)
    if args.layers > len(net.layers):
        raise WeightsError(f"{args.cfg}: has {len(net.layers)} layers, not {args.layers}")
    covered = darknet.load(net, args.file, cutoff=args.layers)
    if covered < args.layers:
        raise WeightsError(f"{args.file}: ends after layer {covered - 1}")
    darknet.save(net, args.out, cutoff=args.layers)
    print(f"{args.out}: layers 0..{args.layers - 1} of {args.cfg}")


def run_change(args):
    from ..weights import save, tools

    net = _loaded(args)
    getattr(tools, args.part)(net)
    save(net, args.out)
    print(f"{args.out}: {args.part} done")


def run_average(args):
    from ..weights import save, tools

    net = _network(args.cfg)
    tools.average(net, args.files)
    save(net, args.out)
    print(f"{args.out}: mean of {len(args.files)} files")


def run_fuse(args):
    from ..cfg import dump
    from ..files import atomic
    from ..weights import save, tools

    plain = tools.fuse(_loaded(args))
    save(plain, args.out)
    atomic(args.out_cfg, dump(plain.sections))
    print(f"{args.out}, {args.out_cfg}: {args.cfg} without batch normalisation")

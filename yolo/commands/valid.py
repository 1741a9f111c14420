"""`valid`: every detection on a data set, in files that other programs judge."""

from pathlib import Path

from .flags import add_network, add_precision, prepare

FORMATS = ("coco", "voc", "plain")


def add(commands):
    command = commands.add_parser("valid", help="write detections as COCO json, VOC or plain files")
    add_network(command)
    add_precision(command)
    command.add_argument("--data", metavar="F", required=True, help=".data file")
    command.add_argument("--out", metavar="DIR", help="default: results of the .data file, or that")
    command.add_argument(
        "--format", choices=FORMATS, help="default: eval of the .data file, or voc, as Darknet"
    )
    command.add_argument(
        "--annotations", metavar="F", help="coco: take ids of images and categories from there"
    )
    command.set_defaults(run=run)


def run(args):
    prepare(args)
    from .. import load
    from ..data import DataFile
    from ..evaluate import Pass
    from ..evaluate.results import LOWEST, SUPPRESSION
    from ..job import detector_classes, open_part
    from ..legible import shown
    from .console import follow

    net = load(args.cfg, args.weights, device=args.device, strict=args.strict)
    classes = detector_classes(net)
    valid = open_part(args.data, "valid", classes)
    file = DataFile.read(args.data)
    kind = args.format or (file.get("eval") if file.get("eval") in FORMATS else "voc")
    out = Path(args.out or file.get("results") or "results")
    out.mkdir(parents=True, exist_ok=True)
    writer = writer_of(kind, classes, valid, args.annotations)
    images = Pass(net, valid, LOWEST, SUPPRESSION, precision=args.precision)
    for seen in follow(images, len(valid)):
        writer.see(seen)
    paths = writer.write(out)
    count = len(valid) - len(images.skipped)
    print(f"{count} images: {len(paths)} file{'s' if len(paths) > 1 else ''} in {shown(out)}")
    for error in images.skipped:
        print(f"left out: {error}")
    return 1 if images.skipped else 0


def writer_of(kind, classes, valid, annotations):
    """What writes the files of a format."""
    from ..evaluate import coco, results

    paths = [entry.text for entry in valid.entries]
    if kind == "coco":
        return results.CocoFile(*coco.numbers(paths, classes, annotations))
    if annotations:
        raise results.ResultsError("valid: --annotations goes with --format coco")
    if kind == "voc":
        return results.VocFiles(valid.names or [str(c) for c in range(classes)])
    return results.PlainFiles()

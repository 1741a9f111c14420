"""`map`: average precision of a network on a data set, by the rules of several judges."""

import json
from pathlib import Path

from .flags import add_network, add_precision, add_rank_timeout, prepare, share

PROTOCOLS = ("darknet", "coco", "voc07", "voc12")


def add(commands):
    command = commands.add_parser("map", help="average precision on a data set")
    add_network(command)
    add_precision(command)
    add_rank_timeout(command)
    command.add_argument("--data", metavar="F", required=True, help=".data file")
    command.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="darknet",
        help="whose rules: Darknet's (default), pycocotools', or those of VOC 2007 or 2012",
    )
    command.add_argument("--annotations", metavar="F", help="coco: COCO json with the truths")
    command.add_argument("--iou", type=share, help="default 0.5; coco has its own")
    command.add_argument("--points", type=int, choices=(0, 11, 101), help="darknet only; default 0")
    command.add_argument("--thresh", type=share, default=0.25, help="of the counts, default 0.25")
    command.add_argument("--json", metavar="F", help="write the numbers there")
    command.add_argument(
        "--plots", metavar="DIR", help="precision-recall curves and confusion matrix, as pictures"
    )
    command.set_defaults(run=run)


def run(args):
    check(args)
    prepare(args)
    from .. import ranks

    with ranks.joined(args.rank_timeout, args.device):
        measure(args)


def measure(args):
    """Looks at the images, this rank at its share of them; the first rank reports."""
    from .. import load, ranks
    from ..data import Dataset
    from ..evaluate import Pass
    from ..evaluate.confusion import Confusion
    from ..files import atomic
    from ..job import detector_classes, open_part
    from .console import follow

    net = load(args.cfg, args.weights, device=args.device, strict=args.strict)
    classes = detector_classes(net)
    valid = open_part(args.data, "valid", classes)
    difficult = Dataset.difficult(args.data, classes)
    judge = judge_of(args, classes, valid)
    confusion = Confusion(classes, args.thresh, args.iou or 0.5)
    settings = {"precision": args.precision, "difficult": difficult}
    images = Pass(net, valid, judge.lowest, judge.suppression, **settings)
    for seen in follow(images, len(valid)):
        judge.see(seen)
        confusion.see(seen)
    if not ranks.first():
        return
    result = judge.result(*([args.points or 0] if args.protocol == "darknet" else []))
    result.skipped = [str(error) for error in images.skipped]
    print(result.report(valid.names))
    if args.json:
        numbers = result.to_dict(valid.names) | {"confusion": confusion.counts.tolist()}
        atomic(args.json, json.dumps(numbers, indent=1) + "\n")
    if args.plots:
        draw(args, judge.curves(), confusion, valid.names)


def check(args):
    """Refuses flags that the protocol has no use for."""
    from ..errors import YoloError

    for flag, fits in (
        ("points", args.protocol == "darknet"),
        ("iou", args.protocol != "coco"),
        ("annotations", args.protocol == "coco"),
    ):
        if getattr(args, flag) is not None and not fits:
            raise YoloError(f"map: --{flag} has no meaning with --protocol {args.protocol}")


def judge_of(args, classes, valid):
    """What counts by the protocol's rules."""
    from ..evaluate import Tally, coco, voc

    iou = 0.5 if args.iou is None else args.iou
    if args.protocol == "darknet":
        return Tally(classes, iou, args.thresh)
    if args.protocol == "coco":
        paths = [entry.text for entry in valid.entries]
        return coco.Referee(paths, classes, args.annotations)
    return voc.Tally(classes, args.protocol, iou)


def draw(args, curves, confusion, names):
    """Writes the pictures."""
    from .. import figures
    from ..legible import shown

    folder = Path(args.plots)
    folder.mkdir(parents=True, exist_ok=True)
    where = f"{Path(args.weights).name} on {Path(args.data).name}"
    title = f"{where}, {args.protocol}, IoU {args.iou or 0.5:.2f}"
    figures.precision_recall(curves, names, folder / "precision-recall.png", title)
    title = f"{where}, above {args.thresh:.2f}, IoU {args.iou or 0.5:.2f}"
    figures.confusion(confusion.counts, names, folder / "confusion.png", title)
    print(f"pictures: precision-recall.png and confusion.png in {shown(folder)}")

"""`anchors`: anchors that fit the boxes of a data set, and how well."""

import sys
from pathlib import Path

from .console import Console
from .flags import positive

STRIDES = (8, 16, 32)  # of the heads where no cfg says


def add(commands):
    command = commands.add_parser("anchors", help="fit anchors to the boxes of a data set")
    command.add_argument("data", metavar="FILE.data", help="its train list is read")
    command.add_argument("--num", type=positive, metavar="N", help="default: as the cfg, or 9")
    command.add_argument("--width", type=positive, metavar="W", help="of the network; default: cfg")
    command.add_argument("--height", type=positive, metavar="H")
    command.add_argument("--cfg", metavar="CFG", help="network whose anchors are to be compared")
    command.add_argument("--masks", action="store_true", help="which anchors for which head")
    command.add_argument("--seed", type=int, default=0, metavar="N")
    command.add_argument(
        "--out", metavar="DIR", help="write anchors.txt, counters_per_class.txt and cloud.png there"
    )
    command.set_defaults(run=run)


def run(args):
    import numpy as np

    from .. import figures
    from ..data import Dataset, LabelError
    from ..data.anchors import anchor_text, average_iou, box_sizes, fit_anchors, gather, recall

    heads, size = network(args)
    dataset = Dataset.from_data(args.data, "train")
    console = Console(sys.stderr, at_once=False)
    boxes, broken = gather(dataset, lambda done: console.progress(done, len(dataset), "labels"))
    if not len(boxes) and broken:
        raise LabelError(f"{args.data}: none of {len(dataset)} images has a box; {broken[0]}")
    sizes = box_sizes(boxes, *size)
    unit = heads[0].anchor_unit(heads[0].out_shape[1:], size) if heads else (1, 1)
    before = np.array(heads[0].anchors) * unit if heads else None
    found = fit_anchors(sizes, args.num or (9 if before is None else len(before)), args.seed)
    print(f"{len(dataset)} images, {len(boxes)} boxes at {size[1]}x{size[0]}")
    if broken:
        print(f"{len(broken)} images have no labels that can be used; the first: {broken[0]}")
    for name, anchors in (("before", before), ("fitted", found)):
        if anchors is not None:
            shares = average_iou(sizes, anchors), recall(sizes, anchors)
            print("{}: average IoU {:.2%}, recall at IoU 0.5 {:.2%}".format(name, *shares))
    text = anchor_text(found, size, unit)
    print(f"anchors = {text}")
    if args.masks:
        print_masks(heads, found, size, dataset.classes)
    if args.out:
        save(Path(args.out), text, boxes, dataset.classes)
        figures.clusters(sizes, found, before, size, Path(args.out) / "cloud.png")


def network(args):
    """(heads, (height, width)): of --cfg, with --width and --height before it."""
    from ..errors import YoloError

    heads, size = [], (None, None)
    if args.cfg:
        from .. import load
        from ..job import anchor_heads

        net = load(args.cfg)
        heads, size = anchor_heads(net), net.input_shape[1:]
    height, width = args.height or size[0], args.width or size[1]
    if not (height and width):
        raise YoloError("anchors: give --width and --height of the network, or --cfg")
    return heads, (height, width)


def print_masks(heads, anchors, size, classes):
    """The lines of each head's section, the heads in the cfg's order."""
    from ..data.anchors import masks

    strides = [size[0] // head.out_shape[1] for head in heads] or STRIDES[: len(anchors)]
    each = (heads[0].objectness_entry + 1 if heads else 5) + (classes or 0)
    for stride, mask in zip(strides, masks(anchors, strides), strict=True):
        filters = f", filters = {len(mask) * each} before it" if classes else ""
        grid = f"{-(-size[1] // stride)}x{-(-size[0] // stride)}"
        print(f"head of {grid} (stride {stride}): mask = {','.join(map(str, mask))}{filters}")


def save(folder, anchors, boxes, classes):
    """Darknet's two files: the anchors, and how many boxes each class has."""
    import numpy as np

    from ..files import atomic

    folder.mkdir(parents=True, exist_ok=True)
    counts = np.bincount(boxes[:, 0].astype(int), minlength=classes or 0)
    atomic(folder / "anchors.txt", anchors + "\n")
    counters = ", ".join(map(str, counts))
    atomic(folder / "counters_per_class.txt", f"counters_per_class = {counters}\n")

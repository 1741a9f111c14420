"""What flags write into a cfg before it is built: keys of [net], classes, anchors."""

import numpy as np

from .. import cfg
from ..data.anchors import average_iou, box_sizes, fit_anchors, gather
from .source import detection_heads


def override(sections, args):
    """Writes the flags into the cfg's sections, so that the cfg kept beside the weights is the
    one that was trained."""
    keys = {
        "batch": args.batch,
        "subdivisions": args.subdivisions,
        "width": args.width,
        "height": args.height,
        "max_batches": args.iterations,
        "learning_rate": args.learning_rate,
    }
    for key, value in keys.items():
        if value is not None:
            sections[0].set(key, value)
    for assignment in args.set:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise cfg.CfgError(f"--set {assignment}: expected KEY=VALUE")
        sections[0].set(key.strip(), value.strip())
    if args.classes:
        set_classes(sections, args.classes)


def set_classes(sections, classes):
    """Gives every [yolo] head `classes`, and the convolution before it the filters it needs."""
    heads = [i for i, s in enumerate(sections) if s.name == "yolo"]
    if not heads:
        raise sections[0].error("--classes: the network has no [yolo] head")
    for i in heads:
        head, before = sections[i], sections[i - 1]
        if before.name not in ("convolutional", "conv"):
            raise head.error(f"--classes: [convolutional] expected before it, got [{before.name}]")
        anchors = len(head.ints("mask", None) or range(head.int("num", 1)))
        head.set("classes", classes)
        before.set("filters", anchors * (classes + 5))


def set_anchors(net, dataset, console):
    """Writes anchors that fit the data into the sections of the heads: as many as their masks
    name in all, the largest to the coarsest grid."""
    height, width = net.input_shape[1:]
    heads = sorted(detection_heads(net), key=lambda head: -head.out_shape[1] * head.out_shape[2])
    sizes = box_sizes(gather(dataset)[0], height, width)
    total = sum(len(head.mask) for head in heads)
    anchors = fit_anchors(sizes, total)
    before = average_iou(sizes, np.array(heads[0].anchors, np.float64))
    after = average_iou(sizes, anchors)
    text = ", ".join(f"{w:.0f},{h:.0f}" for w, h in anchors)
    console.say(f"anchors {text}: average IoU {100 * after:.1f} %, before {100 * before:.1f} %")
    first = 0
    for head in heads:
        mask = range(first, first + len(head.mask))
        first += len(head.mask)
        head.section.set("mask", ",".join(map(str, mask)))
        head.section.set("anchors", text)
        head.section.set("num", total)

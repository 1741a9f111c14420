"""What flags write into a cfg before it is built: keys of [net], classes, anchors."""

import numpy as np

from .. import cfg
from ..data.anchors import anchor_text, average_iou, box_sizes, fit_anchors, gather
from ..layers import LAYERS
from ..layers.head import AnchorHead, Head
from .detector import detection_heads

# What says how many channels a layer gives
OUTPUT_KEYS = {
    "convolutional": "filters",
    "conv": "filters",
    "connected": "output",
    "conn": "output",
}


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
    if args.freeze:
        freeze(sections, args.freeze)


def freeze(sections, layers):
    """The first `layers` layers stay as they are: stopbackward=1 in the last of them."""
    if layers >= len(sections) - 1:
        raise sections[0].error(
            f"--freeze {layers}: the network has {len(sections) - 1} layers, and some must train"
        )
    sections[layers].set("stopbackward", 1)


def set_classes(sections, classes):
    """Gives every head `classes`, and the layer before it the outputs that it needs; a classifier's
    last layer with weights, as many outputs."""
    heads = [(i, LAYERS.get(s.name)) for i, s in enumerate(sections)]
    heads = [(i, kind) for i, kind in heads if isinstance(kind, type) and issubclass(kind, Head)]
    if not heads:
        set_outputs(sections, classes)
    for i, kind in heads:
        head, before = sections[i], sections[i - 1]
        wanted = kind.inputs_for(head, classes)
        if wanted is None:
            raise head.error(
                "--classes: cannot change this network, whose last layer has a weight for each "
                "value of each cell; set classes here, and output=side^2 * (5 * num + classes) in "
                "the [connected] before it"
            )
        if before.name not in OUTPUT_KEYS:
            raise head.error(
                f"--classes: [convolutional] or [connected] expected before it, got [{before.name}]"
            )
        head.set("classes", classes)
        before.set(OUTPUT_KEYS[before.name], wanted)


# What may stand behind a classifier's last layer with weights
UNWEIGHTED = ("softmax", "soft", "cost", "avgpool", "avg", "dropout", "activation")


def set_outputs(sections, classes):
    """Gives a classifier so many classes."""
    names = [section.name for section in sections]
    if names[-1] not in ("softmax", "soft", "cost"):
        raise sections[0].error("--classes: the network ends in no [yolo], [softmax] or [cost]")
    last = sections[max(i for i, name in enumerate(names) if name not in UNWEIGHTED)]
    if last.name not in OUTPUT_KEYS:
        raise last.error("--classes: expected [convolutional] or [connected] before the loss")
    last.set(OUTPUT_KEYS[last.name], classes)


def set_anchors(net, dataset, console):
    """Writes anchors that fit the data into the sections of the heads: as many as they own in all,
    the largest to the coarsest grid."""
    size = net.input_shape[1:]
    heads = sorted(anchor_heads(net), key=lambda head: -head.out_shape[1] * head.out_shape[2])
    sizes = box_sizes(gather(dataset)[0], *size)
    total = sum(len(head.mask) for head in heads)
    anchors = fit_anchors(sizes, total)
    units = [head.anchor_unit(head.out_shape[1:], size) for head in heads]
    before = average_iou(sizes, np.array(heads[0].anchors) * units[0])
    after = average_iou(sizes, anchors)
    text = anchor_text(anchors, size, units[0])
    console.say(f"anchors {text}: average IoU {100 * after:.1f} %, before {100 * before:.1f} %")
    first = 0
    for head, unit in zip(heads, units, strict=True):
        mask = range(first, first + len(head.mask))
        first += len(head.mask)
        if head.masked:
            head.section.set("mask", ",".join(map(str, mask)))
        head.section.set("anchors", anchor_text(anchors, size, unit))
        head.section.set("num", total)


def anchor_heads(net):
    """The heads that have anchors; a network with another one is refused."""
    heads = detection_heads(net)
    for head in heads:
        if not isinstance(head, AnchorHead):
            raise head.section.error(f"--anchors: {head.without_anchors}")
    return heads

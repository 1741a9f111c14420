"""Faster R-CNN as ONNX nodes: regions of interest between the layers, as [rpn] chooses them.

As in the network the regions of an image are always `proposals` many, with empty ones at the end:
every shape is known beforehand. The images are looked at one by one, so their number is fixed.
"""

from math import prod

import numpy as np
import torch
from onnx import TensorProto

from ..boxes import LARGEST
from ..layers.rpn import ENTRIES
from .graph import refusal
from .heads import corners, listed

ALIGN_OPSET = 16  # before it RoiAlign has neither half_pixel nor regions smaller than a cell


def rpn(graph, layer, x):
    """(batch * proposals, 5, 1, 1): image, left, top, right, bottom, relative to the input."""
    if graph.batch is None:
        raise refusal(
            layer, "chooses regions image by image: their number must be fixed, --batch N"
        )
    rows, cols = layer.in_shapes[0][1:]
    count = len(layer.anchors) * rows * cols
    parts = graph.reshape(x, len(layer.anchors), ENTRIES, rows, cols)
    values = listed(graph, parts, count, ENTRIES)
    anchors = layer.anchor_boxes(torch.empty(1, 1, rows, cols)).numpy()
    images = [
        proposals(graph, layer, graph.slice(values, image, image + 1, axis=0), anchors, image)
        for image in range(graph.batch)
    ]
    rois = images[0] if len(images) == 1 else graph.add("Concat", images, axis=0)
    return graph.reshape(rois, ENTRIES, 1, 1)


def proposals(graph, layer, values, anchors, image):
    """(proposals, 5) of one image; values: (1, n, 5)."""
    count = min(layer.pre_nms, len(anchors))
    scores = graph.reshape(graph.slice(values, 4, 5, axis=2), len(anchors))
    order = graph.several("TopK", [scores, graph.integers(count)], 2, axis=1)[1]
    order = graph.add("Squeeze", [order, graph.integers(0)])
    values = graph.add("Gather", [values, order], axis=1)
    around = graph.add("Gather", [graph.constant(anchors[None]), order], axis=1)
    edges = clipped(graph, moved(graph, around, graph.slice(values, 0, 4, axis=2)))
    chosen = standing(graph, layer, edges, count)
    found = graph.add("Gather", [edges, chosen], axis=1)
    empty = graph.constant(np.zeros((1, layer.proposals, 4)))
    found = graph.slice(graph.add("Concat", [found, empty], axis=1), 0, layer.proposals)
    number = graph.constant(np.full((layer.proposals, 1), image))
    return graph.add("Concat", [number, graph.reshape(found, 4)], axis=1)


def standing(graph, layer, edges, count):
    """Numbers of the boxes (1, count, 4), the surest first, that are left after suppression. A box
    scores by its place in this order, so that no two are equal; too small ones score 0."""
    height, width = layer.input_size
    size = graph.slice(centred(graph, edges), 2, 4, axis=2)
    pixels = graph.add("Mul", [size, graph.constant([width, height])])
    small = graph.add("Less", [pixels, graph.constant(layer.min_size)])
    none = graph.add("LessOrEqual", [size, graph.constant(0)])
    unfit = graph.add("Cast", [graph.add("Or", [small, none])], to=TensorProto.FLOAT)
    unfit = graph.add("Greater", [graph.largest(unfit, 2, keepdims=0), graph.constant(0)])
    rank = graph.constant(np.arange(count, 0, -1)[None])
    rank = graph.add("Unsqueeze", [graph.add("Where", [unfit, graph.constant(0), rank]),
                                   graph.integers(1)])  # fmt: skip
    limits = [graph.integers(layer.proposals), graph.constant([layer.nms_thresh])]
    chosen = graph.add("NonMaxSuppression", [edges, rank, *limits, graph.constant([0.5])])
    return graph.add("Squeeze", [graph.slice(chosen, 2, 3), graph.integers(1)])


# ---- boxes: yolo/boxes.py, (..., n, 4) with three axes ----


def moved(graph, anchors, offsets):
    """Corners of the boxes that lie at `offsets` from anchors, both as centre and size."""
    (place, size), (shift, growth) = (
        (graph.slice(v, 0, 2, axis=2), graph.slice(v, 2, 4, axis=2)) for v in (anchors, offsets)
    )
    centre = graph.add("Add", [place, graph.add("Mul", [shift, size])])
    growth = graph.add("Exp", [graph.add("Min", [growth, graph.constant(LARGEST)])])
    size = graph.add("Mul", [size, growth])
    return corners(graph, graph.add("Concat", [centre, size], axis=2))


def clipped(graph, edges):
    return graph.add("Clip", [edges, graph.constant(0), graph.constant(1)])


def centred(graph, edges):
    """Left, top, right, bottom -> centre and size."""
    low, high = graph.slice(edges, 0, 2, axis=2), graph.slice(edges, 2, 4, axis=2)
    centre = graph.add("Mul", [graph.add("Add", [low, high]), graph.constant(0.5)])
    return graph.add("Concat", [centre, graph.add("Sub", [high, low])], axis=2)


# ---- what is cut out of the map ----


def on_map(graph, layer, rois):
    """(R, 5): image, and edges in cells of the map."""
    rows, cols = layer.in_shapes[0][1:]
    sides = graph.constant([1, cols, rows, cols, rows])
    return graph.add("Mul", [graph.reshape(rois, ENTRIES), sides])


def roi_align(graph, layer, x, rois):
    """Between cell centres (half_pixel), `samples` along each side of a bin: as csrc/roi.h."""
    if graph.opset < ALIGN_OPSET:
        raise refusal(layer, f"needs opset {ALIGN_OPSET} or newer, got {graph.opset}")
    places = on_map(graph, layer, rois)
    image = graph.add("Squeeze", [graph.slice(places, 0, 1), graph.integers(1)])
    image = graph.add("Cast", [image], to=TensorProto.INT64)
    height, width = layer.size
    return graph.add(
        "RoiAlign",
        [x, graph.slice(places, 1, 5), image],
        coordinate_transformation_mode="half_pixel",
        mode="avg",
        output_height=height,
        output_width=width,
        sampling_ratio=layer.samples,
        spatial_scale=1.0,
    )


def roi_pool(graph, layer, x, rois):
    """MaxRoiPool, whose bins are shares of a region in float32, where csrc/roi.h has integers."""
    for bins, cells in zip(layer.size, layer.in_shapes[0][1:], strict=True):
        if (count := misplaced(bins, cells + 1)) is not None:
            raise refusal(
                layer,
                f"has {bins} bins in a row on a map of {cells} cells: MaxRoiPool puts an edge of a "
                f"region of {count} cells elsewhere; another size of the input or other bins help",
            )
    places = on_map(graph, layer, rois)
    return graph.add("MaxRoiPool", [x, places], pooled_shape=layer.size, spatial_scale=1.0)


def misplaced(bins, most):
    """The smallest number of cells, up to `most`, of which float32 makes other bins; or None."""
    count, number = np.arange(1, most + 1)[:, None], np.arange(bins + 1)
    edge = number.astype(np.float32) * (count.astype(np.float32) / np.float32(bins))
    exact = count * number
    begins, ends = np.floor(edge) == exact // bins, np.ceil(edge) == -(-exact // bins)
    same = begins[:, :-1] & ends[:, 1:]
    wrong = np.flatnonzero(~same.all(1))
    return int(wrong[0]) + 1 if len(wrong) else None


# ---- the head ----


def fast_rcnn(graph, layer, x, rois):
    """(batch, 5 classes, proposals, 1): x, y, w, h, probability, class by class."""
    classes, count = layer.classes, layer.named.proposals
    values = graph.reshape(x, prod(layer.in_shapes[0]))
    scores = graph.add("Softmax", [graph.slice(values, 0, classes + 1)], axis=1)
    offsets = graph.reshape(graph.slice(values, classes + 1, 5 * classes + 1), classes, 4)
    offsets = graph.add("Mul", [offsets, graph.constant(layer.box_std)])
    rois = graph.reshape(rois, 1, ENTRIES)
    regions = centred(graph, graph.slice(rois, 1, 5, axis=2))
    boxes = centred(graph, clipped(graph, moved(graph, regions, offsets)))
    there = graph.add("Greater", [graph.slice(regions, 2, 4, axis=2), graph.constant(0)])
    width, height = (graph.slice(there, i, i + 1, axis=2) for i in (0, 1))
    probs = graph.reshape(graph.slice(scores, 0, classes), classes, 1)
    probs = graph.add("Where", [graph.add("And", [width, height]), probs, graph.constant(0)])
    found = graph.add("Concat", [boxes, probs], axis=2)
    found = graph.reshape(found, count, 5 * classes)
    found = graph.add("Transpose", [found], perm=[0, 2, 1])
    return graph.reshape(found, *layer.out_shape)


LAYERS = {"FastRcnn": fast_rcnn, "RoiAlign": roi_align, "RoiPool": roi_pool, "Rpn": rpn}

"""Heads as ONNX nodes: their outputs as Darknet leaves them, and from there to boxes and scores.

Values of a grid head are seen as (batch, anchors, entries, rows, columns).
"""

from itertools import pairwise
from math import prod

import numpy as np
from onnx import TensorProto

from ..layers.gaussian_yolo import SIGMAS

# ---- outputs as Darknet leaves them ----


def activated(graph, layer, x):
    """[yolo], [region], [Gaussian_yolo]: (batch, anchors * entries, rows, columns)."""
    if getattr(layer, "new_coords", False) and layer.scale_x_y == 1:
        return x
    values = ACTIVATED[type(layer).__name__](graph, layer, split(graph, layer, x))
    joined = graph.add("Concat", values, axis=2)
    return graph.reshape(joined, *layer.out_shape)


def split(graph, layer, x):
    rows, cols = layer.out_shape[1:]
    return graph.reshape(x, len(layer.mask), layer.entries, rows, cols)


def part(graph, values, begin, end):
    return graph.slice(values, begin, end, axis=2)


def logistic(graph, values, begin, end):
    return graph.add("Sigmoid", [part(graph, values, begin, end)])


def widened(graph, layer, x):
    """scale_x_y: the place within the cell, spread beyond its edges."""
    if layer.scale_x_y == 1:
        return x
    x = graph.add("Mul", [x, graph.constant(layer.scale_x_y)])
    return graph.add("Add", [x, graph.constant((1 - layer.scale_x_y) / 2)])


def yolo(graph, layer, values):
    end = layer.entries
    if layer.new_coords:
        place, scores = part(graph, values, 0, 2), part(graph, values, 4, end)
    else:
        place, scores = logistic(graph, values, 0, 2), logistic(graph, values, 4, end)
    return [widened(graph, layer, place), part(graph, values, 2, 4), scores]


def gaussian_yolo(graph, layer, values):
    """x, s(x), y, s(y), w, s(w), h, s(h), objectness, classes"""
    parts = []
    for entry in range(4):
        place = logistic(graph, values, entry, entry + 1)
        parts.append(widened(graph, layer, place) if entry in (0, 2) else place)
    parts += [part(graph, values, 4, 5), logistic(graph, values, 5, 6)]
    return [*parts, part(graph, values, 6, 7), logistic(graph, values, 7, layer.entries)]


def region(graph, layer, values):
    scores = part(graph, values, 5, layer.entries)
    if layer.tree:
        scores = tree_softmax(graph, layer.tree, scores, axis=2)
    elif layer.softmax:
        scores = graph.add("Softmax", [scores], axis=2)
    return [part(graph, values, 0, 4), logistic(graph, values, 4, 5), scores]


ACTIVATED = {"Yolo": yolo, "GaussianYolo": gaussian_yolo, "Region": region}


def detection(graph, layer, x):
    """[detection]: (batch, values, 1, 1)"""
    cells, total = layer.side**2, layer.out_shape[0]
    x = graph.reshape(x, total)
    if layer.softmax:
        count = cells * layer.classes
        scores = graph.reshape(graph.slice(x, 0, count), cells, layer.classes)
        scores = graph.reshape(graph.add("Softmax", [scores], axis=2), count)
        x = graph.add("Concat", [scores, graph.slice(x, count, total)], axis=1)
    return graph.reshape(x, total, 1, 1)


def softmax(graph, layer, x):
    """[softmax]: (batch, values, 1, 1)"""
    total = prod(layer.in_shapes[0])
    x = graph.add("Div", [x, graph.constant(layer.temperature)])
    if layer.tree:
        y = tree_softmax(graph, layer.tree, graph.reshape(x, total), axis=1)
        return graph.reshape(y, total, 1, 1)
    x = graph.reshape(x, layer.groups, total // layer.groups)
    return graph.reshape(graph.add("Softmax", [x], axis=2), total, 1, 1)


def mtcnn(graph, layer, x):
    """[mtcnn]: softmax over the first two channels."""
    scores = graph.add("Softmax", [graph.slice(x, 0, 2)], axis=1)
    return graph.add("Concat", [scores, graph.slice(x, 2, layer.entries)], axis=1)


# ---- a tree of classes: yolo/layers/tree.py ----


def tree_softmax(graph, tree, x, axis):
    """In each group of its own; a group's classes stand one after the other."""
    ends = np.cumsum([0, *np.bincount(tree.group)]).tolist()
    groups = [graph.slice(x, begin, end, axis) for begin, end in pairwise(ends)]
    return graph.add("Concat", [graph.add("Softmax", [g], axis=axis) for g in groups], axis=axis)


def tree_scores(graph, tree, y):
    """(batch, anchors, classes, rows, columns): of each box the last class that is more probable
    than not, all others 0. A class's probability is its value times those of the classes above."""
    for members, parents in tree.levels:
        above = np.zeros(len(tree.parents), np.int64)
        above[members] = parents
        below = np.zeros((len(tree.parents), 1, 1), bool)
        below[members] = True
        product = graph.add("Mul", [y, graph.add("Gather", [y, graph.integers(*above)], axis=2)])
        y = graph.add("Where", [graph.constant(below, bool), product, y])
    above = graph.add("Greater", [y, graph.constant(0.5)])
    number = graph.add("Cast", [above], to=TensorProto.FLOAT)
    left = graph.add("CumSum", [number, graph.constant(2, np.int64)], reverse=1)
    last = graph.add("And", [above, graph.add("Less", [left, graph.constant(1.5)])])
    return graph.add("Where", [last, y, graph.constant(0)])


# ---- from outputs to boxes (batch, n, 4) xyxy and scores (batch, n, classes) ----


def decoded(graph, layer, output, input_size, thresh):
    """Boxes relative to the network's input, corners x1, y1, x2, y2; probabilities of classes, 0
    where objectness counts by itself and is not above `thresh` (None: it is not asked)."""
    kind = type(layer).__name__
    if kind == "Detection":
        boxes, scores = decoded_detection(graph, layer, output)
    elif kind == "FastRcnn":
        boxes, scores = decoded_regions(graph, layer, output)
    else:
        boxes, scores = decoded_grid(graph, layer, output, input_size, thresh)
    return corners(graph, boxes), scores


def decoded_grid(graph, layer, output, input_size, thresh):
    values = split(graph, layer, output)
    rows, cols = layer.out_shape[1:]
    sizes = layer.anchor_sizes((rows, cols), input_size)[layer.mask].numpy()
    x, y, w, h = (part(graph, values, e, e + 1) for e in layer.box_entries)
    column, row = np.arange(cols), np.arange(rows)[:, None]
    x, y = moved(graph, layer, x, column, cols), moved(graph, layer, y, row, rows)
    w, h = (
        graph.add(
            "Mul", [stretched(graph, layer, v), graph.constant(sizes[:, i, None, None, None])]
        )
        for i, v in enumerate((w, h))
    )
    if shift := getattr(layer, "point", 0.0):
        x, y = (
            graph.add("Sub", [c, graph.add("Mul", [s, graph.constant(shift)])])
            for c, s in ((x, w), (y, h))
        )
    count = len(layer.mask) * rows * cols
    boxes = listed(graph, graph.add("Concat", [x, y, w, h], axis=2), count, 4)
    return boxes, listed(graph, scores_of(graph, layer, values, thresh), count, layer.classes)


def scores_of(graph, layer, values, thresh):
    """(batch, anchors, classes, rows, columns)"""
    first = layer.objectness_entry
    objectness = part(graph, values, first, first + 1)
    scores = part(graph, values, first + 1, layer.entries)
    if getattr(layer, "tree", None):
        scores = tree_scores(graph, layer.tree, scores)
        if thresh is not None:  # scores do not hold it
            scores = where_above(graph, objectness, thresh, scores)
    else:
        scores = graph.add("Mul", [scores, objectness])
    if getattr(layer, "classfix", 0) == -1:
        scores = where_above(graph, objectness, np.nextafter(np.float32(0.5), 0), scores)
    if type(layer).__name__ == "GaussianYolo":  # a box counts as much as it is sure of itself
        sigmas = [part(graph, values, s, s + 1) for s in SIGMAS]
        mean = graph.add("Mul", [graph.add("Sum", sigmas), graph.constant(1 / len(sigmas))])
        scores = graph.add("Mul", [scores, graph.add("Sub", [graph.constant(1), mean])])
    return scores


def where_above(graph, objectness, limit, scores):
    """Scores where objectness is above a limit, else 0."""
    above = graph.add("Greater", [objectness, graph.constant(limit)])
    return graph.add("Where", [above, scores, graph.constant(0)])


def moved(graph, layer, offset, cell, cells):
    """Place within a cell -> place on the input, 0..1."""
    if type(layer).__name__ == "Region":
        offset = graph.add("Sigmoid", [offset])
    place = graph.add("Add", [offset, graph.constant(cell)])
    return graph.add("Mul", [place, graph.constant(1 / cells)])


def stretched(graph, layer, value):
    """Entry -> size in anchors."""
    if not getattr(layer, "new_coords", False):
        return graph.add("Exp", [value])
    return graph.add("Mul", [graph.add("Mul", [value, value]), graph.constant(4)])


def listed(graph, values, count, entries):
    """(batch, anchors, entries, rows, columns) -> (batch, anchors * rows * columns, entries)."""
    turned = graph.add("Transpose", [values], perm=[0, 1, 3, 4, 2])
    return graph.reshape(turned, count, entries)


def decoded_detection(graph, layer, output):
    """Boxes of YOLOv1: box number outermost, then cells, as Detection.decode has them."""
    cells, n, side = layer.side**2, layer.boxes_per_cell, layer.side
    values = graph.reshape(output, layer.out_shape[0])
    ends = np.cumsum([0, cells * layer.classes, cells * n, cells * n * 4])
    classes, confidence, boxes = (graph.slice(values, int(a), int(b)) for a, b in pairwise(ends))
    boxes = graph.reshape(boxes, cells, n, 4)
    corner = np.stack([np.arange(cells) % side, np.arange(cells) // side], 1)[:, None]
    place = graph.add("Add", [graph.slice(boxes, 0, 2, axis=3), graph.constant(corner)])
    place = graph.add("Mul", [place, graph.constant(1 / side)])
    size = graph.slice(boxes, 2, 4, axis=3)
    size = graph.add("Mul", [size, size]) if layer.sqrt else size
    boxes = graph.add("Concat", [place, size], axis=3)
    boxes = graph.reshape(graph.add("Transpose", [boxes], perm=[0, 2, 1, 3]), n * cells, 4)
    confidence = graph.add("Transpose", [graph.reshape(confidence, cells, n)], perm=[0, 2, 1])
    confidence = graph.reshape(confidence, n, cells, 1)
    scores = graph.add("Mul", [graph.reshape(classes, 1, cells, layer.classes), confidence])
    return boxes, graph.reshape(scores, n * cells, layer.classes)


def decoded_regions(graph, layer, output):
    """Boxes as centre and size, every class of a region one, which no other class scores for."""
    classes, count = layer.classes, layer.named.proposals
    values = graph.reshape(output, classes, 5, count)
    values = graph.add("Transpose", [values], perm=[0, 3, 1, 2])
    own = graph.slice(values, 4, 5, axis=3)
    scores = graph.add("Mul", [own, graph.constant(np.eye(classes))])
    boxes = graph.reshape(graph.slice(values, 0, 4, axis=3), count * classes, 4)
    return boxes, graph.reshape(scores, count * classes, classes)


def corners(graph, boxes):
    """(batch, n, 4) centre, size -> x1, y1, x2, y2."""
    centre, size = graph.slice(boxes, 0, 2, axis=2), graph.slice(boxes, 2, 4, axis=2)
    half = graph.add("Mul", [size, graph.constant(0.5)])
    low, high = graph.add("Sub", [centre, half]), graph.add("Add", [centre, half])
    return graph.add("Concat", [low, high], axis=2)


def suppressed(graph, boxes, scores, thresh, nms):
    """(n, 7): image, x1, y1, x2, y2, score, class, of what is above `thresh` after suppression."""
    by_class = graph.add("Transpose", [scores], perm=[0, 2, 1])
    limits = [graph.integers(1 << 30), graph.constant([nms]), graph.constant([thresh])]
    chosen = graph.add("NonMaxSuppression", [boxes, by_class, *limits])  # image, class, box
    image, label, box = (graph.slice(chosen, i, i + 1) for i in range(3))
    place = graph.add("GatherND", [boxes, graph.add("Concat", [image, box], axis=1)])
    score = graph.add("GatherND", [by_class, chosen])
    score = graph.add("Unsqueeze", [score, graph.integers(1)])
    image, label = (graph.add("Cast", [v], to=TensorProto.FLOAT) for v in (image, label))
    return graph.add("Concat", [image, place, score, label], axis=1, name="detections")

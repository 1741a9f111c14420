"""Windows of MTCNN: from cells of a map to pixels, suppression, squares.

Boxes are left, top, right, bottom in pixels, float64 (n, 4): edges, so that a window from 0 to 12
shows the pixels 0 to 11. (The authors count pixels from 1, the last one included: theirs are one
more on the left and at the top.)
"""

import numpy as np

STRIDE, WINDOW = 2, 12  # of P-Net's cells, in pixels of the scaled image


def cells(scores, thresh, scale):
    """scores (H, W) of one scale -> (rows, columns, boxes) of the cells that reach `thresh`."""
    rows, columns = np.nonzero(scores >= thresh)
    first = STRIDE * np.stack((columns, rows), 1) + 1
    low, high = np.fix(first / scale) - 1, np.fix((first + WINDOW - 1) / scale)
    return rows, columns, np.hstack((low, high))


def suppress(boxes, scores, thresh, over="union"):
    """Indices of the boxes that stay, the surest first: each silences those that share with it
    more than `thresh` of both together, or (over="smaller") of the smaller one."""
    left, top, right, bottom = boxes.T
    area = (right - left) * (bottom - top)
    order, kept = np.argsort(-scores, kind="stable"), []
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        width = np.minimum(right[first], right[order]) - np.maximum(left[first], left[order])
        height = np.minimum(bottom[first], bottom[order]) - np.maximum(top[first], top[order])
        shared = np.maximum(0, width) * np.maximum(0, height)
        if over == "smaller":
            whole = np.minimum(area[first], area[order])
        else:
            whole = area[first] + area[order] - shared
        order = order[shared <= thresh * whole]
    return np.array(kept, np.int64)


def moved(boxes, offsets):
    """Each edge moved by its offset, in units of the box's side."""
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def squares(boxes):
    """Squares around the same centres, as wide as the longer side."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longer = sides.max(1, keepdims=True, initial=0)
    corner = boxes[:, :2] + (sides - longer) / 2
    return np.hstack((corner, corner + longer))

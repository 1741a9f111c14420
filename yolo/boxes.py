"""Boxes: the two forms, the IoU family as Darknet defines it, and non-maximum suppression.

`xywh` is centre and size, `xyxy` is left, top, right, bottom. The similarity functions take two
tensors of boxes (..., 4) and broadcast: `iou(a, b)` compares pairs, `iou(a[:, None], b[None])`
every box of a with every box of b.
"""

import numpy as np
import torch
from torch import Tensor

NMS_KINDS = ("default", "greedynms", "diounms", "cornersnms")
BAND = 1 << 20  # elements of a similarity matrix that are computed at a time
WIDEST = 1 << 14  # boxes whose similarity matrix (booleans) is kept whole
CALLS = 20_000  # elements that take as long as the calls for one matrix do


def xywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(..., 4) centre x, y, width, height -> left, top, right, bottom."""
    center, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((center - size / 2, center + size / 2), dim=-1)


def xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """(..., 4) left, top, right, bottom -> centre x, y, width, height."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), dim=-1)


LARGEST = 4.135  # logarithm of 1000 / 16: no box is stretched by more


def offsets(anchors: Tensor, boxes: Tensor) -> Tensor:
    """xywh boxes as seen from xywh anchors, both (..., 4): centres in sizes of the anchor, sizes in
    logarithms of it (R-CNN)."""
    center = (boxes[..., :2] - anchors[..., :2]) / anchors[..., 2:]
    return torch.cat((center, (boxes[..., 2:] / anchors[..., 2:]).log()), dim=-1)


def moved(anchors: Tensor, offsets: Tensor) -> Tensor:
    """The xywh boxes that lie at `offsets` from xywh anchors."""
    center = anchors[..., :2] + offsets[..., :2] * anchors[..., 2:]
    return torch.cat((center, anchors[..., 2:] * offsets[..., 2:].clamp(max=LARGEST).exp()), dim=-1)


def _edges(boxes_xywh: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, y, w, h = boxes_xywh.unbind(-1)
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def _ratio(inter: Tensor, area_a: Tensor, area_b: Tensor) -> Tensor:
    """Intersection over union; boxes that do not overlap, or have no area at all, give 0."""
    union = area_a + area_b - inter
    return inter / union.masked_fill_(union == 0, 1)


def _intersection(a: tuple, b: tuple) -> Tensor:
    width = torch.minimum(a[2], b[2]).sub_(torch.maximum(a[0], b[0])).clamp_(min=0)
    height = torch.minimum(a[3], b[3]).sub_(torch.maximum(a[1], b[1])).clamp_(min=0)
    return width.mul_(height)


def _hull(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Width and height of the smallest box around both."""
    left_a, top_a, right_a, bottom_a = _edges(a)
    left_b, top_b, right_b, bottom_b = _edges(b)
    width = torch.maximum(right_a, right_b) - torch.minimum(left_a, left_b)
    height = torch.maximum(bottom_a, bottom_b) - torch.minimum(top_a, top_b)
    return width, height


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of the centres over the squared diagonal of the hull; 0 for a point hull."""
    width, height = _hull(a, b)
    diagonal = width * width + height * height
    offset = a[..., :2] - b[..., :2]
    return (offset * offset).sum(-1) / diagonal.masked_fill_(diagonal == 0, 1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of xywh boxes."""
    inter = _intersection(_edges(a), _edges(b))
    return _ratio(inter, a[..., 2] * a[..., 3], b[..., 2] * b[..., 3])


def iou_matrix(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """IoU of every box of a (..., N, 4) with every box of b (..., M, 4), xyxy: (..., N, M)."""
    a, b = a_xyxy[..., :, None, :].unbind(-1), b_xyxy[..., None, :, :].unbind(-1)
    area_a, area_b = ((e[2] - e[0]) * (e[3] - e[1]) for e in (a, b))
    return _ratio(_intersection(a, b), area_a, area_b)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU: less the share of the hull that neither box covers."""
    inter = _intersection(_edges(a), _edges(b))
    area_a, area_b = a[..., 2] * a[..., 3], b[..., 2] * b[..., 3]
    width, height = _hull(a, b)
    hull = width * height
    empty = hull - (area_a + area_b - inter)
    penalty = (empty / hull.masked_fill(hull == 0, 1)).masked_fill(hull == 0, 0)
    return _ratio(inter, area_a, area_b) - penalty


def diou(a: Tensor, b: Tensor, beta: float = 0.6) -> Tensor:
    """Distance IoU. Darknet raises the distance ratio to 0.6, where the paper has 1."""
    return iou(a, b) - _distance(a, b) ** beta


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU: distance (exponent 1 here) and difference of aspect ratio."""
    overlap = iou(a, b)
    angle = torch.atan2(b[..., 2], b[..., 3]) - torch.atan2(a[..., 2], a[..., 3])
    v = 4 / torch.pi**2 * angle * angle
    width, height = _hull(a, b)
    aspect = (v * v / (1 - overlap + v + 1e-6)).masked_fill((width == 0) & (height == 0), 0)
    return overlap - _distance(a, b) - aspect


def nms(
    boxes_xywh: Tensor,
    probs: Tensor,
    thresh: float,
    kind: str = "default",
    beta: float = 0.6,
    objectness: Tensor | None = None,
) -> Tensor:
    """Darknet's per-class suppression: probs (N, classes) again, the suppressed entries zero.

    For each class in turn the boxes are taken by falling probability, and each one still standing
    silences every later box whose similarity with it exceeds `thresh`. The similarity is `iou`
    (default, cornersnms), `diou` with exponent 0.6 (greedynms) or with exponent `beta` (diounms).
    Boxes of objectness 0 take no part.
    """
    _check_nms(boxes_xywh, probs, kind)
    similar = _criterion(kind, beta)
    boxes = boxes_xywh.detach().float().cpu()
    result = probs.detach().cpu().numpy().copy()
    order = np.arange(len(boxes))
    if objectness is not None:
        order = _partners(objectness)
    groups = list(_by_class(result, order))
    # One matrix for all classes costs N^2, one per class the sum of squares: take the cheaper way.
    whole = None
    if sum(len(members) ** 2 + CALLS for _, members in groups) > len(boxes) ** 2 + CALLS:
        whole = _closeness(boxes, similar, thresh)
    for label, members in groups:
        if whole is not None:
            standing = _standing(whole, members)
        else:
            near = _closeness(boxes[members], similar, thresh)
            standing = members[_standing(near, np.arange(len(members)))]
        kept = result[standing, label]
        result[members, label] = 0
        result[standing, label] = kept
    return torch.from_numpy(result).to(probs.device)


def nms_order(probs: Tensor, objectness: Tensor | None = None) -> Tensor:
    """Order of the boxes in Darknet's array after suppression; its mAP counts in this order.

    By the probability of the last class, ties by the class before it, and so on, all of them as
    they were before suppression."""
    order = np.arange(len(probs)) if objectness is None else _partners(objectness)
    keys = -probs.detach().cpu().numpy()[order]
    if keys.size:
        order = order[np.lexsort(keys.T)]
    return torch.from_numpy(order)


def _check_nms(boxes: Tensor, probs: Tensor, kind: str) -> None:
    if boxes.dim() != 2 or boxes.shape[1] != 4 or probs.dim() != 2 or len(probs) != len(boxes):
        shapes = f"boxes {tuple(boxes.shape)} and probs {tuple(probs.shape)}"
        raise ValueError(f"nms: expects boxes (N, 4) and probs (N, classes), got {shapes}")
    if kind not in NMS_KINDS:
        raise ValueError(f"nms: kind is one of {', '.join(NMS_KINDS)}, got '{kind}'")


def _criterion(kind: str, beta: float):
    if kind in ("default", "cornersnms"):  # as in Darknet, whose merging of corners is switched off
        return iou
    exponent = 0.6 if kind == "greedynms" else beta
    return lambda a, b: diou(a, b, exponent)


def _closeness(boxes: Tensor, similar, thresh: float):
    """near(i, others): whether box i is more similar to each of the others than `thresh`."""
    if len(boxes) > WIDEST:  # no room for the matrix: row by row, when asked
        return lambda i, others: (similar(boxes[i], boxes[others]) > thresh).numpy()
    close = np.empty((len(boxes), len(boxes)), dtype=bool)
    # In bands of rows, since the similarity needs a dozen times the memory of its result.
    rows = max(1, BAND // max(1, len(boxes)))
    for first in range(0, len(boxes), rows):
        band = boxes[first : first + rows, None]
        close[first : first + rows] = (similar(band, boxes[None]) > thresh).numpy()
    return lambda i, others: close[i, others]


def _standing(near, members: np.ndarray) -> list[int]:
    """Of boxes by falling probability those left when each one standing fells its near ones."""
    standing = []
    while len(members):
        first, members = members[0], members[1:]
        standing.append(first)
        members = members[~near(first, members)]
    return standing


def _partners(objectness: Tensor) -> np.ndarray:
    """Indices of the boxes with an objectness, in the order that Darknet's swapping leaves."""
    alive = objectness.detach().cpu().numpy() != 0
    order, end, i = np.arange(len(alive)), len(alive) - 1, 0
    while i <= end:
        if alive[order[i]]:
            i += 1
        else:
            order[i], order[end] = order[end], order[i]
            end -= 1
    return order[: end + 1]


def _by_class(probs: np.ndarray, order: np.ndarray):
    """(class, boxes with a probability for it, most probable first); lone boxes are left out.

    Darknet sorts one array again and again, so that ties keep the order of the class before."""
    for label in range(probs.shape[1]):
        column = probs[order, label]
        if not column.any():
            continue
        order = order[np.argsort(-column, kind="stable")]
        count = np.count_nonzero(column)
        if count > 1:
            yield label, order[:count]

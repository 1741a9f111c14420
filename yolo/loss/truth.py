"""Ground truth of a mini-batch as a grid head sees it: slots per image, and the cells they claim.

All of this depends on the labels, the anchors and the grid alone, never on what the network says.
It is computed on the CPU, so that a GPU is not asked for anything but indices to read and write.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import boxes as box


@dataclass
class Slots:
    """Truths of each image in list order, padded: B images, T slots."""

    xywh: Tensor  # (B, T, 4) relative to the image; zeros where not usable
    labels: Tensor  # (B, T) class, after the remapping of `map`
    usable: Tensor  # (B, T) bool
    left_out: int  # truths that were given and are not usable


@dataclass
class Claims:
    """Cells that truths take, m of them, in the order in which Darknet visits them."""

    image: Tensor  # (m,)
    anchor: Tensor  # (m,) position in the head's mask
    row: Tensor  # (m,)
    col: Tensor  # (m,)
    xywh: Tensor  # (m, 4) the truth
    labels: Tensor  # (m,)

    def __getitem__(self, chosen: Tensor) -> "Claims":
        return Claims(**{name: value[chosen] for name, value in vars(self).items()})

    def __len__(self) -> int:
        return len(self.image)

    def to(self, like: Tensor) -> "Claims":
        moved = {name: value.to(like.device) for name, value in vars(self).items()}
        return Claims(**moved | {"xywh": self.xywh.to(like)})


def slots(boxes: Tensor, images: int, limit: int, classes: int, remap=None) -> Slots:
    """boxes (N, 6): image index, class, x, y, w, h, relative, in any order of images.

    Darknet keeps `limit` truths per image, ends the list at the first with x == 0, and skips class
    ids that it does not have. Beyond that, boxes with their centre outside of the image, or without
    a size, are left out here, where Darknet warns and then writes outside of its grid; and classes
    that `remap`, a list of the head's class for each class of the labels, does not have.
    """
    table = _table(boxes, images, limit)
    xywh, labels = table[..., 1:], table[..., 0].long()
    listed = (xywh[..., 0] != 0).long().cumprod(1).bool()
    center, size = xywh[..., :2], xywh[..., 2:]
    sound = ((center >= 0) & (center <= 1) & (size > 0)).all(-1)
    usable = listed & sound & (labels >= 0) & (labels < classes)
    if remap is not None:
        usable &= labels < len(remap)
        labels = torch.tensor(remap)[labels * usable]
    labels = labels * usable
    xywh = torch.where(usable[..., None], xywh, 0)
    return Slots(xywh, labels, usable, len(boxes) - int(usable.sum()))


def _table(boxes: Tensor, images: int, limit: int) -> Tensor:
    """(images, T, 5): class, x, y, w, h of the first `limit` truths of each image."""
    if boxes.dim() != 2 or boxes.shape[1] != 6:
        form = "(N, 6): image index, class, x, y, w, h"
        raise ValueError(f"loss: boxes must have shape {form}; got {tuple(boxes.shape)}")
    boxes = boxes.detach().float().cpu()
    image = boxes[:, 0].long()
    if len(boxes) and not 0 <= int(image.min()) <= int(image.max()) < images:
        span = f"{int(image.min())} to {int(image.max())}"
        raise ValueError(f"loss: boxes name images {span}, the mini-batch has {images}")
    rank = _rank(image)
    kept = rank < limit
    slots_used = int(rank[kept].max()) + 1 if kept.any() else 1  # never none: maxima run over them
    table = boxes.new_zeros(images, slots_used, 5)
    table[image[kept], rank[kept]] = boxes[kept, 1:]
    return table


def _rank(group: Tensor) -> Tensor:
    """How many earlier entries have the same value: [3, 5, 3, 3] -> [0, 0, 1, 2]."""
    order = group.argsort(stable=True)
    ordered = group[order]
    place = torch.arange(len(group))
    rank = torch.empty_like(place)
    rank[order] = place - torch.searchsorted(ordered, ordered)
    return rank


def places(truths: Slots, grid: tuple[int, int], point: float = 0.0) -> Claims:
    """The cell of every usable truth, with its first box; boxes are chosen afterwards.

    point: which point of the truth lies in the cell, in sizes of the truth from its centre. One
    that lies on the right or lower edge of the image, or outside, belongs to the nearest cell.
    """
    height, width = grid
    image, slot = truths.usable.nonzero(as_tuple=True)
    xywh = truths.xywh[image, slot]
    at = xywh[:, :2] + point * xywh[:, 2:]
    col = (at[:, 0] * width).long().clamp(0, width - 1)
    row = (at[:, 1] * height).long().clamp(0, height - 1)
    first = torch.zeros_like(image)
    return Claims(image, first, row, col, xywh, truths.labels[image, slot])


def by_shape(found: Claims, anchors: Tensor, layer) -> Claims:
    """The boxes that truths claim by their shape. anchors: (num, 2), relative to the input.

    A truth belongs to the anchor, of all the anchors of all heads, whose shape is nearest; with
    iou_thresh < 1 also to every other anchor more similar than that. This head answers for the
    anchors in its mask.
    """
    truth, which = _chosen_anchors(found.xywh[:, 2:], anchors, layer)
    taken = found[truth]
    taken.anchor = which
    return taken


def centred(size: Tensor) -> Tensor:
    """(..., 2) sizes -> boxes of that size around one point, for comparing shapes."""
    return torch.cat((torch.zeros_like(size), size), -1)


def _chosen_anchors(size: Tensor, anchors: Tensor, layer) -> tuple[Tensor, Tensor]:
    """Pairs (truth, position in mask), truth by truth, of the anchors that truths choose."""
    truth_shape, anchor_shape = centred(size)[:, None], centred(anchors)[None]
    best = box.iou(anchor_shape, truth_shape).argmax(1, keepdim=True)
    chosen = torch.zeros(len(size), len(anchors), dtype=torch.bool).scatter_(1, best, True)
    if layer.iou_thresh < 1:
        similarity = getattr(box, layer.iou_thresh_kind)
        chosen |= similarity(anchor_shape, truth_shape) > layer.iou_thresh
    return chosen[:, list(layer.mask)].nonzero(as_tuple=True)


def rounds(taken: Claims, grid: tuple[int, int], anchors: int) -> list[Tensor]:
    """Indices of the claims, split so that no round has a cell twice and order within a cell holds.

    Later claims of a cell depend on what earlier ones wrote; claims of different cells do not."""
    height, width = grid
    cell = (taken.image * anchors + taken.anchor) * height * width + taken.row * width + taken.col
    rank = _rank(cell)
    count = int(rank.max()) + 1 if len(rank) else 0
    return [(rank == turn).nonzero().squeeze(1) for turn in range(count)]

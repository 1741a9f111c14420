"""What losses ask about every predicted box; no gradient. B images, `cells` boxes of each group.

    best_overlap    max over the truths t of its image of  |box ∩ t| / |box ∪ t|
    highest         max over its classes
    no_deltas       zeros

On the CPU they run in our own threads: PyTorch's, once called, watch for more work for milliseconds
and take a processor from the kernels that follow. Twins: the whole matrix of boxes and truths, a
part at a time; amax; zeros.
"""

from itertools import product

import torch

from .. import boxes as box
from .backend import uses_torch
from .native import library, threads
from .shapes import ShapeError, same_type

# Pairs of box and truth that the twin compares at once. On the CPU the intermediate results stay in
# its cache, and the allocator hands out the same pages again: five times as fast as all at once.
PAIRS = {"cpu": 1 << 18, "cuda": 1 << 25}


@torch.no_grad()
def best_overlap(boxes, truths):
    """boxes (B, groups, 4, cells) as planes of x, y, w, h, truths (B, T, 4) -> (B, groups, cells):
    the highest IoU of each box with a truth of its image. A box that is not finite, or has no
    area, matches nothing."""
    _check(boxes, truths)
    if not _native(boxes):
        return _twin(boxes, truths)
    boxes, truths = boxes.contiguous(), truths.contiguous()
    images, groups, _, cells = boxes.shape
    best = boxes.new_empty(images, groups, cells)
    shape = images, groups, cells, truths.shape[1]
    pointers = boxes.data_ptr(), truths.data_ptr(), best.data_ptr()
    library().best_overlap(shape, boxes.element_size(), *pointers, threads())
    return best


@torch.no_grad()
def highest(x):
    """x (B, groups, classes, cells) -> (B, groups, cells): the highest value of any class."""
    images, groups, classes, cells = x.shape
    if not _native(x):
        return x.amax(2)
    if x.stride(0) != groups * x.stride(1) or x.stride()[2:] != (cells, 1):
        x = x.contiguous()
    y = x.new_empty(images, groups, cells)
    shape = images * groups, classes, cells, x.stride(1)
    library().highest(shape, x.element_size(), x.data_ptr(), y.data_ptr(), threads())
    return y


def no_deltas(like, *shape):
    """Zeros of this shape, with the type and the device of `like`."""
    if like.dtype != torch.float32 or not _native(like):
        return like.new_zeros(shape)
    # Not packed memory: it lives on among the gradients, and would leave a gap there.
    deltas = like.new_empty(shape)
    library().packed.clear(deltas.data_ptr(), deltas.numel(), threads())
    return deltas


def _native(x):
    return x.is_cpu and not uses_torch()


def _check(boxes, truths):
    if boxes.dim() != 4 or truths.dim() != 3 or boxes.shape[2] != 4 or truths.shape[2] != 4:
        raise ShapeError(
            f"best_overlap: needs boxes (B, groups, 4, cells) and truths (B, T, 4), got "
            f"{tuple(boxes.shape)} and {tuple(truths.shape)}"
        )
    if len(boxes) != len(truths):
        raise ShapeError(f"best_overlap: boxes of {len(boxes)} images, truths of {len(truths)}")
    same_type("best_overlap", x=boxes, truths=truths)


def _twin(boxes, truths):
    images, groups, _, cells = boxes.shape
    planes = boxes.transpose(1, 2).flatten(2)  # (B, 4, groups * cells): contiguous edges
    planes = torch.where(planes.isfinite().all(1, keepdim=True), planes, 0)
    predicted = box.xywh_to_xyxy(planes.transpose(1, 2))
    truths = box.xywh_to_xyxy(truths)
    count, slots = predicted.shape[1], max(1, truths.shape[1])
    best = planes.new_zeros(images, count)
    budget = PAIRS.get(planes.device.type, PAIRS["cuda"])
    group = max(1, budget // (count * slots))
    length = max(1, budget // (group * slots))
    for i, j in product(range(0, images, group), range(0, count, length)):
        part = predicted[i : i + group, j : j + length]
        pairs = box.iou_matrix(truths[i : i + group], part)
        best[i : i + group, j : j + length] = pairs.amax(1)
    return best.view(images, groups, cells)

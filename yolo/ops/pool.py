"""Pooling.  maxpool2d: y = largest value in the window, cells outside the image ignored;
avgpool: y[n,c,0,0] = mean of x[n,c,:,:].

Twin: torch.nn.functional.max_pool2d after padding with -inf; mean.
"""

import torch.nn.functional as F

from .shapes import ShapeError, pool_shape


def maxpool2d(x, size, stride, padding=None):
    """x (n, c, h, w) -> (n, c, p, q), p = (h + padding - size) / stride + 1 by integers.

    `padding` is Darknet's: rows (or columns) of both sides together, the smaller half above and
    left; None is size - 1.  Among equal values the first of the window, row by row, gets grad_y.
    """
    return _twin(x, _shape(x, size, stride, padding))


def _shape(x, size, stride, padding):
    if padding is None:
        padding = [s - 1 for s in size] if isinstance(size, (tuple, list)) else size - 1
    return pool_shape(x, size, stride, padding)


def _twin(x, shape):
    rows = (shape.p - 1) * shape.stride[0] + shape.size[0] - shape.h - shape.offset[0]
    cols = (shape.q - 1) * shape.stride[1] + shape.size[1] - shape.w - shape.offset[1]
    sides = (shape.offset[1], max(cols, 0), shape.offset[0], max(rows, 0))
    padded = F.pad(x, sides, value=float("-inf")) if any(sides) else x
    return F.max_pool2d(padded, shape.size, shape.stride)


def avgpool(x):
    """x (n, c, h, w) -> (n, c, 1, 1): the mean of each channel."""
    if x.dim() != 4 or x.shape[2] * x.shape[3] == 0:
        raise ShapeError(f"avgpool: x must be (n, c, h, w) with h, w > 0, got {tuple(x.shape)}")
    return x.mean((2, 3), keepdim=True)

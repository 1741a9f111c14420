"""Max pools of odd windows, stride 1, over one map: SPP (He et al., 2014), as one operation.

    y_k[p,q] = max of x over the size_k x size_k window around (p, q);  first of equal cells, row by
    row, gets the gradient

spp_pool() leaves such pools unwritten in training where the layout says so; the concatenation that
joins them, and x itself where that is one of the parts, writes them all (concat.py). On CUDA each
takes its windows from those of the pool before: see csrc/cuda/spp.cu.

A code says where in its window a value was found: 16 * row + column, one byte.
"""

from typing import NamedTuple

import torch

from .cuda.structs import SPP_LARGEST
from .operator import operator, result
from .pool import _maxpool, _maxpool_backward, maxpool2d
from .shapes import pair
from .unwritten import Copied, Unwritten, begins


def spp_pool(x, size, stride, padding):
    """maxpool2d(x, size, stride, padding), Unwritten where the layout says so and it can be one of
    an SPP."""
    height, width = pair(size)
    centred = height == width and height % 2 and pair(padding) == (height - 1, width - 1)
    fits = centred and pair(stride) == (1, 1) and height <= SPP_LARGEST
    if not (fits and isinstance(x, torch.Tensor) and x.dim() == 4 and begins(x)):
        return maxpool2d(x, size, stride, padding)
    return Pooled((x,), Pools((height,)), x.shape)


class Pools(NamedTuple):
    """What makes (y of each size) of x; sizes grow."""

    sizes: tuple

    def write(self, *tensors):
        *ys, x = tensors
        return (_forward(x, self.sizes, ys),)

    def gradients(self, *tensors):
        *grads, codes = tensors
        return (_backward(codes, self.sizes, grads, None),)


class PoolsBesideX(NamedTuple):
    """What makes (x, y of each size) of x."""

    sizes: tuple

    def write(self, copy, *tensors):
        *ys, x = tensors
        Copied().write(copy, x)
        return (_forward(x, self.sizes, ys),)

    def gradients(self, grad, *tensors):
        *grads, codes = tensors
        return (_backward(codes, self.sizes, grads, grad),)


class Pooled(Unwritten):
    """Of a [maxpool] layer."""


def _fake(x, sizes, ys):
    n, c, h, w = x.shape
    return x.new_empty((len(sizes), n, h, w, c), dtype=torch.uint8)


@operator("spp_forward(Tensor x, int[] sizes, Tensor(a!)[] ys) -> Tensor", _fake)
def _forward(x, sizes, ys):
    """Fills ys, which may be slices of the channels of a wider map; gives codes (level, n, h, w,
    c)."""
    codes = _fake(x, sizes, ys)
    for size, y, code in zip(sizes, ys, codes, strict=True):
        values, at = _maxpool(x, [size] * 2, [1, 1], [size - 1] * 2, True)
        y.copy_(values)
        rows, columns = _corners(at, size)
        code.copy_((16 * (at // at.shape[3] - rows) + at % at.shape[3] - columns).movedim(1, 3))
    return codes


@operator(
    "spp_backward(Tensor codes, int[] sizes, Tensor[] grads, Tensor? other) -> Tensor",
    lambda codes, sizes, grads, other: result(grads[0], grads[0].shape),
)
def _backward(codes, sizes, grads, other):
    """Gradient of x; `other` is added, from the largest window to the smallest."""
    total = other
    for size, grad, code in reversed(list(zip(sizes, grads, codes, strict=True))):
        code = code.movedim(3, 1).int()
        rows, columns = _corners(code, size)
        at = (code // 16 + rows) * code.shape[3] + code % 16 + columns
        height, width = code.shape[2:]
        window = [size] * 2, [1, 1], [size - 1] * 2
        found = _maxpool_backward(grad, at.contiguous(), [height, width], *window)
        total = found if total is None else total + found
    return total


def _corners(like, size):
    """Row and column where each pixel's window begins, of maps (n, c, h, w)."""
    height, width = like.shape[2:]
    first = -(size // 2)
    rows = torch.arange(first, first + height, dtype=torch.int32).view(-1, 1)
    return rows, torch.arange(first, first + width, dtype=torch.int32)

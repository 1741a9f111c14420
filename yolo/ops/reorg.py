"""Darknet's two rearrangements of blocks of s x s pixels into channels, s being the stride.

Both walk one map between a small index [oy][ox][c'][j][i] and a large one [c'][j][oy][i][ox],
(i, j, c') over W x H x C / s^2 and (ox, oy) over s x s:

    reorg3d   W x H x C are the sizes of the output: a true space-to-depth
    reorg     W x H x C are the sizes of the input: YOLOv2's order, the buffer being reinterpreted

`reverse` walks the same map the other way (for reorg3d that is not its inverse, as in Darknet).

The gradient walks the other way.  Twin: a reshape and permute.
"""

import torch

from . import packed_spatial
from .backend import uses_torch
from .grad import first_order
from .native import library, threads
from .operator import operator
from .packed import Packed
from .shapes import ShapeError, same_type


def reorg(x, stride, reverse=False):
    """x (n, c, h, w) or Packed -> (n, c s^2, h / s, w / s); reverse: (n, c / s^2, h s, w s)."""
    return _walk(x, x.shape[1:], _out_shape(x, stride, reverse, "reorg"), stride, reverse, "reorg")


def reorg3d(x, stride, reverse=False):
    """x (n, c, h, w) or Packed -> (n, c s^2, h / s, w / s); reverse: (n, c / s^2, h s, w s)."""
    out = _out_shape(x, stride, reverse, "reorg3d")
    return _walk(x, out, out, stride, reverse, "reorg3d")


def _out_shape(x, s, reverse, what):
    if x.dim() != 4:
        raise ShapeError(f"{what}: x needs 4 dimensions (n, c, h, w), got {tuple(x.shape)}")
    same_type(what, x=x)
    c, h, w = x.shape[1:]
    if s < 1 or (c % (s * s) if reverse else h % s or w % s):
        axis = "the square of it must divide the channels" if reverse else "it must divide h and w"
        raise ShapeError(f"{what}: stride {s} does not fit x {tuple(x.shape)}; {axis}")
    return (c // (s * s), h * s, w * s) if reverse else (c * s * s, h // s, w // s)


def _walk(x, sizes, out, s, reverse, what):
    c, h, w = sizes
    if c % (s * s):
        raise ShapeError(
            f"{what}: stride {s} needs a multiple of {s * s} channels in ({c}, {h}, {w}), "
            f"x is {tuple(x.shape)}"
        )
    sizes = (c // (s * s), h, w, s)
    if isinstance(x, Packed):
        small = tuple(x.shape) if reverse else (x.shape[0], *out)
        return packed_spatial.reorg(x, small, sizes, not reverse)
    if uses_torch():
        return _twin(x, sizes, reverse).reshape(x.shape[0], *out)
    if torch.is_grad_enabled() and x.requires_grad:
        return _Reorg.apply(x, sizes, reverse).view(x.shape[0], *out)
    return _permute(x, sizes, reverse).view(x.shape[0], *out)


def _twin(x, sizes, reverse):
    n, (d, h, w, s) = x.shape[0], sizes
    if reverse:
        return x.reshape(n, s, s, d, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, d, h, s, w, s).permute(0, 3, 5, 1, 2, 4)


class _Reorg(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, sizes, reverse):
        ctx.sizes, ctx.reverse, ctx.shape = sizes, reverse, x.shape
        return _permute(x, sizes, reverse)

    @staticmethod
    @first_order("reorg")
    def backward(ctx, grad_y):
        return _permute(grad_y, ctx.sizes, not ctx.reverse).view(ctx.shape), None, None


def _fake(x, sizes, reverse):
    return x.new_empty((x.shape[0], sizes[0] * sizes[1] * sizes[2] * sizes[3] ** 2))


@operator("reorg(Tensor x, SymInt[] sizes, bool reverse) -> Tensor", _fake)
def _permute(x, sizes, reverse):
    """Each image as one row, from the large index to the small, or back if `reverse`."""
    x = x.contiguous()
    y = _fake(x, sizes, reverse)
    shape = (x.shape[0], *sizes)
    library().reorg(shape, not reverse, x.element_size(), x.data_ptr(), y.data_ptr(), threads())
    return y

"""Nearest-neighbour enlargement:  y[n,c,i,j] = scale * x[n, c, i/stride, j/stride].

A negative stride shrinks: y = scale * sum over each block of |stride| x |stride|.  Either is the
other's gradient.  Twin: repetition of rows and columns, or a reshape and sum.
"""

import torch

from . import packed_spatial
from .backend import uses_torch
from .grad import first_order
from .native import library, threads
from .operator import operator, result
from .packed import Packed
from .shapes import ShapeError, same_type


def upsample(x, stride, scale=1.0):
    """x (n, c, h, w) -> (n, c, h * stride, w * stride), or / |stride| where stride < 0.

    A Packed x is enlarged only."""
    _check(x, stride)
    if isinstance(x, Packed):
        return packed_spatial.enlarge(x, stride, scale)
    if uses_torch():
        return _twin(x, stride, scale)
    if torch.is_grad_enabled() and x.requires_grad:
        return _Upsample.apply(x, stride, scale)
    return _resize(x, stride, scale)


def _check(x, stride):
    if x.dim() != 4:
        raise ShapeError(f"upsample: x needs 4 dimensions (n, c, h, w), got {tuple(x.shape)}")
    if stride == 0 or (stride < 0 and (x.shape[2] % -stride or x.shape[3] % -stride)):
        raise ShapeError(
            f"upsample: stride {stride} does not divide x {tuple(x.shape)}; it must not be 0, and "
            "a negative one must divide height and width"
        )
    same_type("upsample", x=x)


def _twin(x, stride, scale):
    n, c, h, w = x.shape
    if stride > 0:
        y = x.view(n, c, h, 1, w, 1) if x.is_contiguous() else x.reshape(n, c, h, 1, w, 1)
        y = y.expand(n, c, h, stride, w, stride).reshape(n, c, h * stride, w * stride)
    else:
        s = -stride
        y = x.reshape(n, c, h // s, s, w // s, s).sum((3, 5))
    return y if scale == 1 else y * scale


class _Upsample(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, stride, scale):
        ctx.stride, ctx.scale = stride, scale
        return _resize(x, stride, scale)

    @staticmethod
    @first_order("upsample")
    def backward(ctx, grad_y):
        return _resize(grad_y, -ctx.stride, ctx.scale), None, None


def _fake(x, stride, scale):
    n, c, h, w = x.shape
    if stride > 0:
        return result(x, (n, c, h * stride, w * stride))
    return result(x, (n, c, h // -stride, w // -stride))


@operator("upsample_into(Tensor(a!) y, Tensor x, int stride, float scale) -> ()", lambda *_: None)
def _into(y, *given):
    """_resize with the result in y, which may be a slice of the channels of a wider map."""
    y.copy_(_resize(*given))


@operator("upsample(Tensor x, int stride, float scale) -> Tensor", _fake)
def _resize(x, stride, scale):
    x = x.contiguous()
    y = _fake(x, stride, scale)
    small = x if stride > 0 else y
    kernel = library().enlarge if stride > 0 else library().block_sums
    n, c, h, w = small.shape
    kernel(
        (n * c, h, w), abs(stride), scale, x.element_size(), x.data_ptr(), y.data_ptr(), threads()
    )
    return y

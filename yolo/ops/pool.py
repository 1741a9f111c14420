"""Pooling.  maxpool2d: y = largest value in the window, cells outside the image ignored;
avgpool: y[n,c,0,0] = mean of x[n,c,:,:].

Twin: torch.nn.functional.max_pool2d after padding with -inf; mean.
"""

import torch
import torch.nn.functional as F

from . import packed_spatial
from .backend import uses_torch
from .grad import first_order
from .native import library, native_pool_shape, threads
from .operator import operator, result
from .packed import Packed
from .shapes import ShapeError, pair, pool_shape, same_type


def maxpool2d(x, size, stride, padding=None):
    """x (n, c, h, w) or Packed -> (n, c, p, q), p = (h + padding - size) / stride + 1 by integers.

    `padding` is Darknet's: rows (or columns) of both sides together, the smaller half above and
    left; None is size - 1.  Among equal values the first of the window, row by row, gets grad_y.
    """
    size, stride = pair(size), pair(stride)
    padding = (size[0] - 1, size[1] - 1) if padding is None else pair(padding)
    shape = pool_shape(x, size, stride, padding)
    if isinstance(x, Packed):
        return packed_spatial.maxpool2d(x, shape)
    if uses_torch():
        return _twin(x, shape)
    if torch.is_grad_enabled() and x.requires_grad:
        return _MaxPool.apply(x, size, stride, padding)
    return _maxpool(x, size, stride, padding, False)[0]


def avgpool(x):
    """x (n, c, h, w) or Packed -> (n, c, 1, 1): the mean of each channel."""
    if x.dim() != 4 or x.shape[2] * x.shape[3] == 0:
        raise ShapeError(f"avgpool: x must be (n, c, h, w) with h, w > 0, got {tuple(x.shape)}")
    same_type("avgpool", x=x)
    if isinstance(x, Packed):
        return packed_spatial.avgpool(x)
    if uses_torch():
        return x.mean((2, 3), keepdim=True)
    return _AvgPool.apply(x)


def _twin(x, shape):
    rows = (shape.p - 1) * shape.stride[0] + shape.size[0] - shape.h - shape.offset[0]
    cols = (shape.q - 1) * shape.stride[1] + shape.size[1] - shape.w - shape.offset[1]
    sides = (shape.offset[1], max(cols, 0), shape.offset[0], max(rows, 0))
    padded = F.pad(x, sides, value=float("-inf")) if any(sides) else x
    return F.max_pool2d(padded, shape.size, shape.stride)


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, size, stride, padding):
        y, at = _maxpool(x, size, stride, padding, True)
        ctx.geometry = x.shape[2:], size, stride, padding
        ctx.save_for_backward(at)
        return y

    @staticmethod
    @first_order("maxpool2d")
    def backward(ctx, grad_y):
        return _maxpool_backward(grad_y, *ctx.saved_tensors, *ctx.geometry), None, None, None


class _AvgPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.size = x.shape[2:]
        return _avgpool(x)

    @staticmethod
    @first_order("avgpool")
    def backward(ctx, grad_y):
        return _avgpool_backward(grad_y, ctx.size)


def _fake_maxpool(x, size, stride, padding, with_index):
    shape = pool_shape(x, size, stride, padding)
    y = result(x, (shape.n, shape.c, shape.p, shape.q))
    return y, result(x, y.shape if with_index else (0,), torch.int32)


@operator(
    "maxpool_forward(Tensor x, int[] size, int[] stride, int[] padding, bool with_index) "
    "-> (Tensor, Tensor)",
    _fake_maxpool,
)
def _maxpool(x, size, stride, padding, with_index):
    """y, and of each value its place h * width + w in the plane of x (or an empty tensor)."""
    x = x.contiguous()
    y, at = _fake_maxpool(x, size, stride, padding, with_index)
    shape = native_pool_shape(pool_shape(x, size, stride, padding))
    workers = threads()
    bytes_each = library().maxpool_scratch(shape, x.element_size())
    scratch = torch.empty(bytes_each * workers, dtype=torch.uint8)
    library().maxpool_forward(
        shape,
        x.element_size(),
        x.data_ptr(),
        y.data_ptr(),
        at.data_ptr() if with_index else 0,
        scratch.data_ptr(),
        workers,
    )
    return y, at


@operator(
    "maxpool_backward(Tensor grad_y, Tensor at, SymInt[] size, int[] window, int[] stride, "
    "int[] padding) -> Tensor",
    lambda grad_y, at, size, *_: result(grad_y, (*grad_y.shape[:2], *size)),
)
def _maxpool_backward(grad_y, at, size, window, stride, padding):
    """On the CPU `at` says all; CUDA gathers and needs to know which windows cover a pixel."""
    grad_y = grad_y.contiguous()
    (n, c, p, q), (h, w) = grad_y.shape, size
    grad_x = grad_y.new_empty((n, c, h, w))
    library().maxpool_backward(
        native_pool_shape((n, c, h, w, p, q, (1, 1), (1, 1), (0, 0))),
        grad_y.element_size(),
        grad_y.data_ptr(),
        at.data_ptr(),
        grad_x.data_ptr(),
        threads(),
    )
    return grad_x


@operator("avgpool_forward(Tensor x) -> Tensor", lambda x: result(x, (*x.shape[:2], 1, 1)))
def _avgpool(x):
    x = x.contiguous()
    n, c, h, w = x.shape
    y = x.new_empty((n, c, 1, 1))
    library().avgpool_forward(n * c, h * w, x.element_size(), x.data_ptr(), y.data_ptr(), threads())
    return y


@operator(
    "avgpool_backward(Tensor grad_y, SymInt[] size) -> Tensor",
    lambda grad_y, size: result(grad_y, (*grad_y.shape[:2], *size)),
)
def _avgpool_backward(grad_y, size):
    grad_y, (h, w) = grad_y.contiguous(), size
    grad_x = grad_y.new_empty((*grad_y.shape[:2], h, w))
    library().avgpool_backward(
        grad_y.numel(),
        h * w,
        grad_y.element_size(),
        grad_y.data_ptr(),
        grad_x.data_ptr(),
        threads(),
    )
    return grad_x

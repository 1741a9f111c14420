"""prelu(x, slope):  y = x where x > 0, else slope[c] * x, one learned slope a channel.

    grad_x     = grad_y where x > 0, else slope[c] * grad_y
    grad_slope = sum of grad_y * x over images and pixels where x <= 0

Twin: torch.where.
"""

import torch

from . import packed_pointwise
from .activation import planes
from .backend import uses_torch
from .grad import first_order
from .native import library, threads
from .operator import operator, result
from .packed import Packed
from .shapes import ShapeError, same_type


def prelu(x, slope):
    """x (n, c, ...) or Packed, slope (c) -> y of x's shape."""
    if x.dim() < 2 or tuple(slope.shape) != (x.shape[1],):
        raise ShapeError(
            f"prelu: slope must have one value per channel of x {tuple(x.shape)}, got "
            f"{tuple(slope.shape)}"
        )
    same_type("prelu", x=x, slope=slope)
    if isinstance(x, Packed):
        return packed_pointwise.prelu(x, slope)
    if uses_torch():
        return torch.where(x > 0, x, slope.to(x.dtype).view(1, -1, *[1] * (x.dim() - 2)) * x)
    if torch.is_grad_enabled() and (x.requires_grad or slope.requires_grad):
        return _Prelu.apply(x, slope)
    return _forward(x, slope)


class _Prelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, slope):
        ctx.save_for_backward(x, slope)
        return _forward(x, slope)

    @staticmethod
    @first_order("prelu")
    def backward(ctx, grad_y):
        return _backward(grad_y, *ctx.saved_tensors)


@operator("prelu_forward(Tensor x, Tensor slope) -> Tensor", lambda x, slope: result(x, x.shape))
def _forward(x, slope):
    x, slope = x.contiguous(), slope.contiguous()
    y = torch.empty_like(x)
    pointers = [t.data_ptr() for t in (x, slope, y)]
    library().prelu_forward(planes(x), x.element_size(), *pointers, threads())
    return y


@operator(
    "prelu_backward(Tensor grad_y, Tensor x, Tensor slope) -> (Tensor, Tensor)",
    lambda grad_y, x, slope: (result(x, x.shape), torch.empty_like(slope)),
)
def _backward(grad_y, x, slope):
    grad_y, x, slope = grad_y.contiguous(), x.contiguous(), slope.contiguous()
    grads = torch.empty_like(x), torch.empty_like(slope)
    pointers = [t.data_ptr() for t in (grad_y, x, slope, *grads)]
    library().prelu_backward(planes(x), x.element_size(), *pointers, threads())
    return grads

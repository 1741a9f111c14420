"""activate(x, name):  y = f(x),  grad_x = grad_y * g,  f and g being Darknet's.

Kernels compute the common activations; the rare ones (`ACTIVATIONS` minus
`NATIVE_ACTIVATIONS`) are the PyTorch expressions of formulas.py on either backend.
Twin: those expressions.
"""

import torch

from . import packed_pointwise
from .backend import uses_torch
from .formulas import FORMULAS, NATIVE_ACTIVATIONS
from .grad import first_order, own
from .native import activation_codes, library, threads
from .operator import operator, result
from .packed import Packed
from .precision import sum_type
from .shapes import ShapeError, same_type

ACTIVATIONS = tuple(FORMULAS)


def activate(x, name):
    """y = f(x) element by element (normalize_*: per pixel over dimension 1). Packed x: one of
    NATIVE_ACTIVATIONS."""
    check_activation(name)
    if isinstance(x, Packed):
        return packed_pointwise.activate(x, name)
    if name == "linear":
        return x
    if name.startswith("normalize_") and x.dim() < 2:
        raise ShapeError(f"activate: {name} needs channels in dimension 1, got {tuple(x.shape)}")
    same_type("activate", x=x)
    if uses_torch() or name not in NATIVE_ACTIVATIONS:
        return _expression(x, name)
    flat = x.reshape(1, 1, -1)
    return _bias_act(flat, None, name).view(x.shape)


def bias_act(x, bias, activation):
    """f(x + bias), the bias (c) added along dimension 1 of x (n, c, ...)."""
    check_activation(activation, "bias_act")
    if x.dim() < 2 or tuple(bias.shape) != (x.shape[1],):
        raise ShapeError(
            f"bias_act: bias must have one value per channel of x {tuple(x.shape)}, "
            f"got {tuple(bias.shape)}"
        )
    same_type("bias_act", x=x, bias=bias)
    if uses_torch() or activation not in NATIVE_ACTIVATIONS:
        shifted = x + bias.view(1, -1, *[1] * (x.dim() - 2))
        return activate(shifted.to(x.dtype), activation)
    return _bias_act(x, bias, activation)


def check_activation(name, what="activate"):
    if name not in FORMULAS:
        raise ValueError(f"{what}: unknown activation {name!r}; known are {', '.join(FORMULAS)}")


def _expression(x, name):
    if torch.is_grad_enabled() and x.requires_grad:
        return _Expression.apply(x, name)
    return _value(x, name)


def _value(x, name):
    """f(x), 16-bit values computed in float32."""
    return FORMULAS[name][0](x.to(sum_type(x.dtype))).to(x.dtype)


def _bias_act(x, bias, name):
    if torch.is_grad_enabled() and (x.requires_grad or (bias is not None and bias.requires_grad)):
        return _BiasAct.apply(x, bias, name)
    return _forward(x, bias, name)


class _Expression(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, name):
        ctx.name = name
        y = own(_value(x, name))
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    @first_order("activate")
    def backward(ctx, grad_y):
        wide = [t.to(sum_type(t.dtype)) for t in (*ctx.saved_tensors, grad_y)]
        return (wide[2] * FORMULAS[ctx.name][1](*wide[:2])).to(grad_y.dtype), None


class _BiasAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, bias, name):
        ctx.name = name
        ctx.save_for_backward(x, bias)
        return _forward(x, bias, name)

    @staticmethod
    @first_order("bias_act")
    def backward(ctx, grad_y):
        x, bias = ctx.saved_tensors
        grad_x = _backward(grad_y, x, bias, ctx.name)
        wants_bias = bias is not None and ctx.needs_input_grad[1]
        return grad_x, channel_sums(grad_x) if wants_bias else None, None


def _fake(x, bias):
    """Without a bias CUDA takes the values in the order of memory that they have."""
    return torch.empty_like(x) if bias is None and x.is_cuda else result(x, x.shape)


def planes(x):
    """(images, channels, values per channel) of x (n, c, ...), as kernels take it."""
    n, c = x.shape[:2]
    return n, c, x[0, 0].numel() if n and c else 0


@operator(
    "bias_act_forward(Tensor x, Tensor? bias, str activation) -> Tensor",
    lambda x, bias, activation: _fake(x, bias),
)
def _forward(x, bias, activation):
    x = x.contiguous()
    y = torch.empty_like(x)
    bias = None if bias is None else bias.contiguous()
    library().bias_act_forward(
        planes(x),
        x.element_size(),
        x.data_ptr(),
        0 if bias is None else bias.data_ptr(),
        activation_codes()[activation],
        y.data_ptr(),
        threads(),
    )
    return y


@operator(
    "bias_act_backward(Tensor grad_y, Tensor x, Tensor? bias, str activation) -> Tensor",
    lambda grad_y, x, bias, activation: _fake(grad_y, bias),
)
def _backward(grad_y, x, bias, activation):
    grad_y, x = grad_y.contiguous(), x.contiguous()
    grad_x = torch.empty_like(x)
    bias = None if bias is None else bias.contiguous()
    library().bias_act_backward(
        planes(x),
        x.element_size(),
        grad_y.data_ptr(),
        x.data_ptr(),
        0 if bias is None else bias.data_ptr(),
        activation_codes()[activation],
        grad_x.data_ptr(),
        threads(),
    )
    return grad_x


@operator(
    "channel_sums(Tensor x) -> Tensor",
    lambda x: x.new_empty(x.shape[1], dtype=sum_type(x.dtype)),
)
def channel_sums(x):
    """x (n, c, ...) -> (c): the sum over everything but the channels."""
    x = x.contiguous()
    sums = x.new_empty(x.shape[1])
    library().channel_sums(planes(x), x.element_size(), x.data_ptr(), sums.data_ptr(), threads())
    return sums

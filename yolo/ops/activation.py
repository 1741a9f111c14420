"""activate(x, name):  y = f(x),  grad_x = grad_y * g,  f and g being Darknet's.

Twin: the expressions of formulas.py.
"""

import torch

from .formulas import FORMULAS
from .grad import first_order
from .shapes import ShapeError

ACTIVATIONS = tuple(FORMULAS)


def check_activation(name, what="activate"):
    if name not in FORMULAS:
        raise ValueError(f"{what}: unknown activation {name!r}; known are {', '.join(FORMULAS)}")


class _Twin(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, name):
        ctx.name = name
        y = FORMULAS[name][0](x)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    @first_order("activate")
    def backward(ctx, grad_y):
        return grad_y * FORMULAS[ctx.name][1](*ctx.saved_tensors), None


def activate(x, name):
    """y = f(x) element by element (normalize_*: per pixel over dimension 1)."""
    check_activation(name)
    if name == "linear":
        return x
    if name.startswith("normalize_") and x.dim() < 2:
        raise ShapeError(f"activate: {name} needs channels in dimension 1, got {tuple(x.shape)}")
    if not (torch.is_grad_enabled() and x.requires_grad):
        return FORMULAS[name][0](x)
    return _Twin.apply(x, name)


def bias_act(x, bias, activation):
    """f(x + bias), the bias (c) added along dimension 1 of x (n, c, ...)."""
    check_activation(activation, "bias_act")
    if x.dim() < 2 or tuple(bias.shape) != (x.shape[1],):
        raise ShapeError(
            f"bias_act: bias must have one value per channel of x {tuple(x.shape)}, "
            f"got {tuple(bias.shape)}"
        )
    return activate(x + bias.view(1, -1, *[1] * (x.dim() - 2)), activation)

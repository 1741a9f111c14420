"""Fully connected:  y = x weight^T + bias, which is a convolution of 1 x 1 maps.

Twin: torch.nn.functional.linear.
"""

import torch.nn.functional as F

from .backend import uses_torch
from .conv import conv2d
from .shapes import ShapeError, same_type


def linear(x, weight, bias=None):
    """x (n, inputs), weight (outputs, inputs), bias (outputs) or None -> y (n, outputs)."""
    _check(x, weight, bias)
    if uses_torch():
        return F.linear(x, weight, bias)
    return conv2d(x[:, :, None, None], weight[:, :, None, None], bias)[:, :, 0, 0]


def _check(x, weight, bias):
    shapes = f"x {tuple(x.shape)}, weight {tuple(weight.shape)}"
    if x.dim() != 2 or weight.dim() != 2 or x.shape[1] != weight.shape[1]:
        raise ShapeError(f"linear: x (n, inputs) and weight (outputs, inputs) are needed: {shapes}")
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ShapeError(
            f"linear: bias must have shape ({weight.shape[0]},), got {tuple(bias.shape)}; {shapes}"
        )
    same_type("linear", x=x, weight=weight, bias=bias)

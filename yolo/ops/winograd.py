"""Winograd's convolution in training: 2.25 to 4 times fewer multiplications, about four times the
rounding error of the direct sum (3e-5 against float64 is its limit), so it is asked for by name:

    with precision("fast"):
        y = conv2d(x, weight, padding=1)

Forward and grad_x of float32 3x3 convolutions of stride 1 and 32 channels or more take it; all
others, and grad_weight, stay as they are.
"""

import torch

from .native import library, native_conv_shape
from .precision import precision


def takes(shape, like):
    """Whether a convolution of this shape and type goes through Winograd now."""
    fast = precision.current == "fast" and like.dtype == torch.float32
    return fast and library().packed.winograd_fits(native_conv_shape(shape))


def forward(shape, x, weight, bias, activation, y):
    """y = activation(x * weight + bias) of contiguous tensors."""
    native, workspace, threads = _prepare(shape, x)
    library().packed.winograd_forward(
        native,
        x.data_ptr(),
        weight.data_ptr(),
        0 if bias is None else bias.data_ptr(),
        activation,
        y.data_ptr(),
        workspace.data_ptr(),
        threads,
    )
    return y


def grad_x(shape, grad_y, weight, grad_x):
    """grad_x of contiguous tensors."""
    native, workspace, threads = _prepare(shape, grad_y)
    library().packed.winograd_grad_x(
        native,
        grad_y.data_ptr(),
        weight.data_ptr(),
        grad_x.data_ptr(),
        workspace.data_ptr(),
        threads,
    )
    return grad_x


def _prepare(shape, like):
    native, threads = native_conv_shape(shape), torch.get_num_threads()
    return native, like.new_empty(library().packed.winograd_workspace(native, threads)), threads

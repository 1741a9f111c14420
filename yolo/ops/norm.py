"""Batch normalisation and activation in one operation.

    training:   mean, var of each channel over its m values (var divided by m), and
                rolling <- (1 - momentum) rolling + momentum new, with var * m / (m - 1) as new var
    evaluation: mean, var are the rolling ones
    y = f(scale * (x - mean) / sqrt(var + eps) + bias)

Twin: torch.nn.functional.batch_norm and the expressions of formulas.py.
"""

import torch
import torch.nn.functional as F

from .activation import activate, check_activation
from .shapes import ShapeError, same_type


def batch_norm_act(
    x,
    scale,
    bias,
    rolling_mean,
    rolling_var,
    training,
    activation="linear",
    momentum=0.01,
    eps=1e-5,
):
    """x (n, c, h, w) or (n, c); scale, bias and the rolling buffers (c) -> y like x."""
    check_activation(activation, "batch_norm_act")
    _check(x, scale=scale, bias=bias, rolling_mean=rolling_mean, rolling_var=rolling_var)
    return activate(
        _normalise(x, scale, bias, rolling_mean, rolling_var, training, momentum, eps), activation
    )


def _check(x, **channels):
    for name, tensor in channels.items():
        if x.dim() < 2 or tuple(tensor.shape) != (x.shape[1],):
            raise ShapeError(
                f"batch_norm_act: {name} must have one value per channel of x {tuple(x.shape)}, "
                f"got {tuple(tensor.shape)}"
            )
    same_type("batch_norm_act", x=x, **channels)


def _normalise(x, scale, bias, rolling_mean, rolling_var, training, momentum, eps):
    count = x.numel() // x.shape[1] if x.numel() else 0
    if training and count == 0:
        return x * scale.view(1, -1, *[1] * (x.dim() - 2))  # no value to take statistics of
    if training and count == 1:  # F.batch_norm refuses: the spread of one value is 0
        with torch.no_grad():
            rolling_mean.lerp_(x.reshape(-1), momentum)
            rolling_var.mul_(1 - momentum)
        shape = [1, -1] + [1] * (x.dim() - 2)
        return (x - x) * scale.view(shape) + bias.view(shape)
    return F.batch_norm(x, rolling_mean, rolling_var, scale, bias, training, momentum, eps)

"""Batch normalisation with statistics of all mini-batches of an iteration so far (cbn).

In mini-batch t = 1, 2, ... of an iteration, with m values x of a channel, mean and square their
average and sum of x^2 / (m - 1), at least mean^2:

    M <- mean / t + (1 - 1 / t) M,   Q <- square / t + (1 - 1 / t) Q,   var = max(0, Q - M^2)
    z = (x - M) / sqrt(var + eps),   y = f(scale * z + bias)
    rolling <- (1 - momentum) rolling + momentum (M, var)

The gradient is that of norm.py with these statistics, as Darknet has it: they count as if each
were the mini-batch's own.  Twin: PyTorch expressions with that gradient.
"""

import torch

from .activation import activate, check_activation
from .backend import uses_torch
from .norm import normalised
from .shared_norm import rolling_pair, shares


def cross_batch_norm_act(
    x, scale, bias, rolling, crossed, subdivisions, activation="linear", momentum=0.01, eps=1e-5
):
    """x (n, c, h, w) -> y like x, in training. rolling: mean and variance (c), crossed: M and Q (c)
    and t of the last mini-batch, an integer tensor that begins at 0; all are moved in place.
    subdivisions: mini-batches of an iteration, after which t is 1 again."""
    check_activation(activation, "cross_batch_norm_act")
    if shares():
        raise ValueError("cbn=1: statistics over mini-batches do not go with those of all ranks")
    if rolling_pair.current == "moves":  # else forward is run a second time for the same mini-batch
        _move(x.detach(), rolling, crossed, subdivisions, momentum)
    mean, var = crossed[0].clone(), _variance(*crossed[:2])
    if uses_torch():
        return activate(_twin(x, scale, bias, mean, var, eps), activation)
    return normalised(x, scale, bias, mean, torch.rsqrt(var + eps), None, True, activation)


def _variance(mean, square):
    return (square - mean * mean).clamp(min=0)


@torch.no_grad()
def _move(x, rolling, crossed, subdivisions, momentum):
    *crossed, number = crossed
    number.remainder_(subdivisions).add_(1)
    count = x.numel() // x.shape[1]
    mean = x.mean((0, 2, 3))
    square = (x * x).sum((0, 2, 3)) / max(1, count - 1)
    for kept, new in zip(crossed, (mean, torch.maximum(square, mean * mean)), strict=True):
        kept.lerp_(new, (1 / number).to(kept))
    for kept, new in zip(rolling, (crossed[0], _variance(*crossed)), strict=True):
        kept.lerp_(new, momentum)


def _twin(x, scale, bias, mean, var, eps):
    """Statistics whose values are given and whose gradients are those of a batch's own."""
    across = (1, -1, 1, 1)
    own_mean = x.mean((0, 2, 3))
    own_var = (x - mean.view(across)).square().mean((0, 2, 3))
    mean = mean + (own_mean - own_mean.detach())
    var = var + (own_var - own_var.detach())
    z = (x - mean.view(across)) * torch.rsqrt(var + eps).view(across)
    return scale.view(across) * z + bias.view(across)

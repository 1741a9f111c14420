"""Batch normalisation whose statistics are those of the mini-batch of all ranks (--sync-bn).

    with statistics("shared"):
        loss = net.loss(x, truth)     # as if the ranks' images were one batch

Forward: each rank takes count n, mean m and squares s = sum of (x - m)^2 of its own values; of all
together (Chan, Golub and LeVeque, 1979)

    count N = sum of n,  mean M = sum of n m / N,  squares = sum of (s + n (m - M)^2)

Backward: with g = grad_y * f' and z as in norm.py, sums of g and of g * z over all ranks, and

    grad_x = scale / sqrt(var + eps) * (g - (sum of g) / N - z * (sum of g * z) / N)

The gradients of scale and bias stay those of this rank's images, for the ranks' gradients are
summed afterwards.
"""

import torch

from .. import ranks
from .switch import Switch

statistics = Switch("statistics", ("own", "shared"))
rolling_pair = Switch("rolling_pair", ("moves", "stays"))  # stays: forward is run a second time


def shares():
    """Whether statistics are to be those of all ranks."""
    return statistics.current == "shared" and ranks.count() > 1


def kept(rolling):
    """The rolling pair that a forward pass in training moves: copies where it is to stay."""
    if rolling_pair.current == "moves":
        return rolling
    return tuple(tensor.clone() for tensor in rolling)


def of_batch(take, count, rolling, momentum, eps):
    """What `take` gives (last mean and 1 / sqrt(var + eps) of `count` values) and None; or the same
    with mean and deviation over all ranks, and N. take: function of rolling mean and variance,
    which it moves, momentum and eps."""
    rolling = kept(rolling)
    if not shares():
        return *take(*rolling, momentum, eps), None
    # with momentum 1 the kernels leave the mean and the unbiased variance themselves
    mean, unbiased = (torch.zeros_like(tensor) for tensor in rolling)
    *others, _, _ = take(mean, unbiased, 1.0, eps)
    return *others, *merge(mean, unbiased, count, rolling, momentum, eps)


def merge(mean, unbiased, count, rolling, momentum, eps):
    """(mean, 1 / sqrt(var + eps), N) of all ranks from mean and unbiased variance (c) of this
    rank's `count` values; moves the rolling pair in place."""
    channels, own = len(mean), mean.double()
    squares = unbiased.double() * max(0, count - 1)
    parts = ranks.gathered(torch.cat([own, squares, own.new_tensor([count])]))
    means, squares, counts = parts[:, :channels], parts[:, channels:-1], parts[:, -1:]
    total = counts.sum()
    whole = (counts * means).sum(0) / total
    squares = (squares + counts * (means - whole).square()).sum(0)
    with torch.no_grad():
        for old, new in zip(rolling, (whole, squares / (total - 1).clamp(min=1)), strict=True):
            old.copy_((1 - momentum) * old.double() + momentum * new)
    rstd = torch.rsqrt(squares / total + eps)
    return whole.to(mean.dtype), rstd.to(mean.dtype), total


def means_of_all(scale, mean, rstd, grad_scale, grad_bias, total):
    """Factors a, b (c) such that grad_x = scale * rstd * g - (a + b * x)."""
    g, gz = ranks.summed(torch.stack([grad_bias, grad_scale]).double()) / total
    slope = scale.double() * rstd.double()
    b = slope * rstd.double() * gz
    return (slope * g - b * mean.double()).to(mean.dtype), b.to(mean.dtype)


def subtract(grad_x, x, a, b):
    """grad_x -= a + b * x in place; a and b have a shape that fits x."""
    grad_x.sub_(torch.addcmul(a, x.to(b.dtype), b).to(grad_x.dtype))

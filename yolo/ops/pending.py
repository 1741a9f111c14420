"""The output of a convolution with batch normalisation that nobody has written yet, in training.

    x                                   what the convolution leaves, with mean, rstd of each channel
    y = f(scale * (x - mean) * rstd + bias) + residual

    with layout("pending"):             # such convolutions leave a Pending
        loss = net.loss(x, truth)

Who reads it first writes y, in the way that costs least:

    shortcut, the only reader   the other addend becomes the residual
    convolution z = conv(y)     one node of autograd, (x, scale, bias, residual, weight) -> (y, z).
                                Whoever else reads y gets that of the node, whose backward then has
                                the gradients of all its readers at once: grad_x of the convolution
                                adds what the others gave, and on CUDA the kernel takes the sums
                                that the normalisation needs while the gradient is at hand
    concatenation, only reader  y is written where it belongs: see concat.py
    anybody else                a pass for y, and in backward one for the sums

Where y is a part of a concatenation, its memory is a slice of that (place.py), whoever writes it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .conv import GEOMETRY, _fake_forward, _grad_weight, _grad_x, gradients
from .conv import _forward as _convolve
from .grad import first_order, wants_grad
from .norm import (
    _backward,
    _into,
    _statistics,
    channel_pair,
    norm_act_gradients,
    subtract_means_of_all,
)
from .operator import operator, result
from .precision import half_type, precision
from .unwritten import Unwritten


class Normed(NamedTuple):
    """What makes y of x, scale, bias and a residual or None; total: as of normalised()."""

    mean: Tensor
    rstd: Tensor
    total: Tensor | None
    from_batch: bool
    activation: str

    def write(self, y, x, scale, bias, residual):
        _into(y, x, scale, bias, self.mean, self.rstd, self.activation, residual)
        return x, scale, bias

    def gradients(self, grad_y, x, scale, bias):
        return *norm_act_gradients(grad_y, x, scale, bias, *self), grad_y


class Pending(Unwritten):
    """Of a convolution with batch normalisation: x, scale, bias, residual; how: Normed."""

    def __init__(self, x, scale, bias, how, residual=None):
        super().__init__((x, scale, bias, residual), how, x.shape)

    def plus(self, other):
        """y + other."""
        fits = other.shape == self.shape and other.dtype == self.dtype
        if not (self.alone and fits and self.inputs[3] is None):
            return self.planar() + other
        return Pending(*self.inputs[:3], self.how, other)

    def writes(self):
        """Whether a convolution that reads this can write it, with what else it computes."""
        fits = half_type(self.device) is None or self.dtype != torch.float32
        return self._y is None and torch.is_grad_enabled() and fits

    def convolve(self, weight, statistics, geometry):
        """See convolve()."""
        how = self.how, self.room, statistics, geometry
        self._y, *found = _Joined.apply(*self.inputs, weight, *how)
        return found


def convolve(x, weight, statistics, geometry):
    """[conv(x)], and mean and rstd of it where statistics (rolling mean and variance, which move,
    momentum, eps) are wanted; x: a tensor or a Pending."""
    if isinstance(x, Pending):
        if x.writes():
            return x.convolve(weight, statistics, geometry)
        x = x.planar()
    if wants_grad(x, weight):
        return _Conv.apply(x, weight, statistics, geometry)
    return _run(x, weight, statistics, geometry)


def _run(x, weight, statistics, geometry):
    if statistics:
        return _conv_statistics(x, weight, *statistics, *geometry)
    return (_convolve(x, weight, None, *geometry, "linear"),)


class _Conv(torch.autograd.Function):
    """Mean and rstd have no gradient of their own: that of the normalisation allows for them."""

    @staticmethod
    def forward(ctx, x, weight, statistics, geometry):
        ctx.geometry, ctx.precision = geometry, precision.current
        ctx.save_for_backward(x, weight)
        found = _run(x, weight, statistics, geometry)
        ctx.mark_non_differentiable(*found[1:])
        return found

    @staticmethod
    @first_order("conv_batch_norm_act")
    def backward(ctx, grad_z, *_):
        return *gradients(ctx, grad_z), None, None


class _Joined(torch.autograd.Function):
    """Norm, activation, sum and the convolution of it: gives y, z and, if wanted, mean and rstd of
    z."""

    @staticmethod
    def forward(ctx, x, scale, bias, residual, weight, how, room, statistics, geometry):
        y = room()
        how.write(y, x, scale, bias, residual)
        found = _run(y, weight, statistics, geometry)
        ctx.save_for_backward(x, scale, bias, how.mean, how.rstd, weight, y)
        ctx.rest = how.total, how.from_batch and how.total is None, how.activation, geometry
        ctx.precision = precision.current
        ctx.mark_non_differentiable(*found[1:])
        ctx.set_materialize_grads(False)
        return y, *found

    @staticmethod
    @first_order("conv_batch_norm_act")
    def backward(ctx, grad_y, grad_z, *_):
        if grad_y is None and grad_z is None:
            return (None,) * 9
        *normed, weight, y = ctx.saved_tensors
        total, own, activation, geometry = ctx.rest
        grad_weight = None
        if grad_z is None:  # nobody trains by what the convolution gave
            grads = _backward(grad_y, *normed, own, activation)
        else:
            with precision(ctx.precision):
                if ctx.needs_input_grad[4]:
                    grad_weight = _grad_weight(grad_z, y, weight.shape[2:], *geometry)
                how = *geometry, grad_y, *normed, own, activation
                grad_y, *grads = _grad_norm_act(grad_z, weight, *how)
        subtract_means_of_all(grads, *normed, total)
        wanted = ctx.needs_input_grad[3]
        return *grads, grad_y if wanted else None, grad_weight, *[None] * 4


def _fake_conv_statistics(x, weight, rolling_mean, rolling_var, momentum, eps, *geometry):
    y = _fake_forward(x, weight, None, *geometry, "linear")
    return y, *channel_pair(y)


@operator(
    "conv2d_statistics(Tensor x, Tensor weight, Tensor(a!) rolling_mean, Tensor(b!) rolling_var, "
    f"float momentum, float eps, {GEOMETRY}) -> (Tensor, Tensor, Tensor)",
    _fake_conv_statistics,
)
def _conv_statistics(x, weight, rolling_mean, rolling_var, momentum, eps, *geometry):
    """The convolution, and the statistics of what it leaves."""
    y = _convolve(x, weight, None, *geometry, "linear")
    return y, *_statistics(y, rolling_mean, rolling_var, momentum, eps)


def _fake_grad_norm_act(grad_z, weight, *rest):
    x = rest[5]
    return result(grad_z, x.shape), result(x, x.shape), *channel_pair(x)


@operator(
    f"conv2d_grad_norm_act(Tensor grad_z, Tensor weight, {GEOMETRY}, Tensor? grad_y, Tensor x, "
    "Tensor scale, Tensor bias, Tensor mean, Tensor rstd, bool from_batch, str activation) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    _fake_grad_norm_act,
)
def _grad_norm_act(
    grad_z, weight, stride, padding, dilation, groups, grad_y, x, *normed
):  # fmt: skip
    """Of x -> y = norm_act(x) -> z = conv(y): the whole gradient at y, grad_y being what its other
    readers gave, or None; then those of norm_act_backward."""
    whole = _grad_x(grad_z, weight, x.shape[2:], stride, padding, dilation, groups)
    whole = whole if grad_y is None else whole.add_(grad_y)
    return whole, *_backward(whole, x, *normed)

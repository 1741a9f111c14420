"""Batch normalisation and activation in one operation, on its own or behind a convolution.

    training:   mean, var of each channel over its m values (var divided by m), and
                rolling <- (1 - momentum) rolling + momentum new, with var * m / (m - 1) as new var
    evaluation: mean, var are the rolling ones

    z = (x - mean) / sqrt(var + eps),  y = f(scale * z + bias)

    g = grad_y * f',  grad_bias = sum of g,  grad_scale = sum of g * z,
    grad_x = scale / sqrt(var + eps) * (g - mean of g - z * mean of (g * z)), without the means in
    evaluation.  Backward keeps x alone and computes f' again.

conv_batch_norm_act takes the statistics while the convolution's sums are at hand: on CUDA its
kernel leaves count, mean and spread of every tile, and no pass reads x again for them.

Twin: torch.nn.functional.batch_norm and the expressions of formulas.py.
"""

import functools

import torch
import torch.nn.functional as F

from .activation import activate, check_activation, planes
from .backend import uses_torch
from .conv import GEOMETRY, conv2d, gradients, wants_grad
from .conv import _forward as _convolve
from .formulas import NATIVE_ACTIVATIONS
from .grad import first_order
from .native import activation_codes, library, threads
from .operator import operator, result
from .precision import narrowed, precision, sum_type
from .shapes import ShapeError, conv_shape, pair, same_type
from .shared_norm import means_of_all, of_batch, shares, subtract

CHANNELS = ("scale", "bias", "rolling_mean", "rolling_var")


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
    _check(x, **dict(zip(CHANNELS, (scale, bias, rolling_mean, rolling_var), strict=True)))
    if uses_torch():
        rolling = rolling_mean, rolling_var
        return activate(_twin(x, scale, bias, rolling, training, momentum, eps), activation)
    if training:
        take, count = functools.partial(_statistics, x.detach()), x[:, :1].numel()
        found = of_batch(take, count, (rolling_mean, rolling_var), momentum, eps)
    else:
        found = rolling_mean.detach().clone(), torch.rsqrt(rolling_var.detach() + eps), None
    return _activated(x, scale, bias, *found, training, activation)


def _activated(x, scale, bias, mean, rstd, total, from_batch, activation):
    """total: None, or the number of values of all ranks that mean and rstd are of."""
    fused = activation if activation in NATIVE_ACTIVATIONS else "linear"
    y = _normalise(x, scale, bias, mean, rstd, total, from_batch, fused)
    return y if fused == activation else activate(y, activation)


def conv_batch_norm_act(
    x, weight, channels, rolling, training, activation="linear", geometry=(1, 0, 1, 1),
    momentum=0.01, eps=1e-5,
):  # fmt: skip
    """batch_norm_act(conv2d(x, weight)); channels: scale and bias, rolling: mean and variance,
    geometry: stride, padding, dilation, groups."""
    if uses_torch() or not training:
        x = conv2d(x, weight, None, *geometry)
        return batch_norm_act(x, *channels, *rolling, training, activation, momentum, eps)
    check_activation(activation, "conv_batch_norm_act")
    x, (stride, padding, dilation, groups) = narrowed(x), geometry
    shape = conv_shape(x, weight, None, *geometry, "conv_batch_norm_act")
    like = x.new_empty((0, weight.shape[0]))
    _check(like, **dict(zip(CHANNELS, (*channels, *rolling), strict=True)))
    geometry = pair(stride), pair(padding), pair(dilation), groups
    run = _ConvStatistics.apply if wants_grad(x, weight) else _conv_statistics

    def take(*how):
        return run(x, weight, *how, *geometry)

    x, *found = of_batch(take, shape.n * shape.p * shape.q, rolling, momentum, eps)
    return _activated(x, *channels, *found, True, activation)


def _check(x, **channels):
    for name, tensor in channels.items():
        if x.dim() < 2 or tuple(tensor.shape) != (x.shape[1],):
            raise ShapeError(
                f"batch_norm_act: {name} must have one value per channel of x {tuple(x.shape)}, "
                f"got {tuple(tensor.shape)}"
            )
    same_type("batch_norm_act", x=x, **channels)


def _twin(x, scale, bias, rolling, training, momentum, eps):
    if training and shares():
        raise ValueError("batch_norm_act: statistics of all ranks need backend('native')")
    rolling_mean, rolling_var = rolling
    count = x.numel() // x.shape[1] if x.numel() else 0
    if training and count < 2:  # no value, or one whose spread is 0: F.batch_norm refuses both
        shape = [1, -1] + [1] * (x.dim() - 2)
        with torch.no_grad():
            rolling_mean.mul_(1 - momentum * count).add_(x.sum([0, *range(2, x.dim())]) * momentum)
            rolling_var.mul_(1 - momentum * count)
        return (x - x) * scale.view(shape) + bias.view(shape)
    return F.batch_norm(x, rolling_mean, rolling_var, scale, bias, training, momentum, eps)


def _normalise(x, scale, bias, mean, rstd, total, from_batch, activation):
    if torch.is_grad_enabled() and (x.requires_grad or scale.requires_grad or bias.requires_grad):
        return _NormAct.apply(x, scale, bias, mean, rstd, total, from_batch, activation)
    return _forward(x, scale, bias, mean, rstd, activation)


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale, bias, mean, rstd, total, from_batch, activation):
        ctx.total, ctx.from_batch, ctx.activation = total, from_batch, activation
        ctx.save_for_backward(x, scale, bias, mean, rstd)
        return _forward(x, scale, bias, mean, rstd, activation)

    @staticmethod
    @first_order("batch_norm_act")
    def backward(ctx, grad_y):
        own = ctx.from_batch and ctx.total is None
        grads = _backward(grad_y, *ctx.saved_tensors, own, ctx.activation)
        if ctx.total is not None:
            x, scale, _, mean, rstd = ctx.saved_tensors
            factors = means_of_all(scale, mean, rstd, *grads[1:], ctx.total)
            across = [1, -1] + [1] * (x.dim() - 2)
            subtract(grads[0], x, *(factor.view(across) for factor in factors))
        return *grads, None, None, None, None, None


class _ConvStatistics(torch.autograd.Function):
    """Mean and rstd have no gradient of their own: that of the normalisation allows for them."""

    @staticmethod
    def forward(ctx, x, weight, rolling_mean, rolling_var, momentum, eps, *geometry):
        ctx.geometry, ctx.precision = geometry, precision.current
        ctx.save_for_backward(x, weight)
        found = _conv_statistics(x, weight, rolling_mean, rolling_var, momentum, eps, *geometry)
        ctx.mark_non_differentiable(*found[1:])
        return found

    @staticmethod
    @first_order("conv_batch_norm_act")
    def backward(ctx, grad_y, *_):
        return *gradients(ctx, grad_y), *[None] * 8


def _channel_pair(x, *_):
    dtype = sum_type(x.dtype)
    return x.new_empty(x.shape[1], dtype=dtype), x.new_empty(x.shape[1], dtype=dtype)


@operator(
    "batch_statistics(Tensor x, Tensor(a!) rolling_mean, Tensor(b!) rolling_var, float momentum, "
    "float eps) -> (Tensor, Tensor)",
    _channel_pair,
)
def _statistics(x, rolling_mean, rolling_var, momentum, eps):
    """Mean and 1 / sqrt(var + eps) of each channel; moves the rolling pair in place."""
    if x.numel() == 0:
        return x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1])
    mean, rstd = _channel_pair(x)
    x, kept = x.contiguous(), (rolling_mean.contiguous(), rolling_var.contiguous())
    library().batch_statistics(
        planes(x),
        x.element_size(),
        x.data_ptr(),
        momentum,
        eps,
        kept[0].data_ptr(),
        kept[1].data_ptr(),
        mean.data_ptr(),
        rstd.data_ptr(),
        threads(),
    )
    for rolling, new in zip((rolling_mean, rolling_var), kept, strict=True):
        if rolling is not new:
            rolling.copy_(new)
        else:
            torch.autograd.graph.increment_version(rolling)
    return mean, rstd


def _fake_conv_statistics(x, weight, rolling_mean, rolling_var, momentum, eps, *geometry):
    y = _convolve.fake(x, weight, None, *geometry, "linear")
    return y, *_channel_pair(y)


@operator(
    "conv2d_statistics(Tensor x, Tensor weight, Tensor(a!) rolling_mean, Tensor(b!) rolling_var, "
    f"float momentum, float eps, {GEOMETRY}) -> (Tensor, Tensor, Tensor)",
    _fake_conv_statistics,
)
def _conv_statistics(x, weight, rolling_mean, rolling_var, momentum, eps, *geometry):
    """The convolution, and _statistics of it."""
    y = _convolve(x, weight, None, *geometry, "linear")
    return y, *_statistics(y, rolling_mean, rolling_var, momentum, eps)


@operator(
    "norm_act_forward(Tensor x, Tensor scale, Tensor bias, Tensor mean, Tensor rstd, "
    "str activation) -> Tensor",
    lambda x, *_: result(x, x.shape),
)
def _forward(x, scale, bias, mean, rstd, activation):
    x = x.contiguous()
    y = torch.empty_like(x)
    channels = [t.contiguous() for t in (scale, bias, mean, rstd)]
    library().norm_act_forward(
        planes(x),
        x.element_size(),
        x.data_ptr(),
        [t.data_ptr() for t in channels],
        activation_codes()[activation],
        y.data_ptr(),
        threads(),
    )
    return y


@operator(
    "norm_act_backward(Tensor grad_y, Tensor x, Tensor scale, Tensor bias, Tensor mean, "
    "Tensor rstd, bool from_batch, str activation) -> (Tensor, Tensor, Tensor)",
    lambda grad_y, x, *_: (
        result(x, x.shape),
        *_channel_pair(x),
    ),
)
def _backward(grad_y, x, scale, bias, mean, rstd, from_batch, activation):
    """(grad_x, grad_scale, grad_bias)"""
    grad_y, x = grad_y.contiguous(), x.contiguous()
    grad_x, (grad_scale, grad_bias) = torch.empty_like(x), _channel_pair(x)
    channels = [t.contiguous() for t in (scale, bias, mean, rstd)]
    library().norm_act_backward(
        planes(x),
        x.element_size(),
        grad_y.data_ptr(),
        x.data_ptr(),
        [t.data_ptr() for t in channels],
        activation_codes()[activation],
        from_batch,
        grad_x.data_ptr(),
        grad_scale.data_ptr(),
        grad_bias.data_ptr(),
        threads(),
    )
    return grad_x, grad_scale, grad_bias

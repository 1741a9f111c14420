"""Batch normalisation, activation and the sum of a shortcut in one operation.

    training:   mean, var of each channel over its m values (var divided by m), and
                rolling <- (1 - momentum) rolling + momentum new, with var * m / (m - 1) as new var
    evaluation: mean, var are the rolling ones

    z = (x - mean) / sqrt(var + eps),  y = f(scale * z + bias) + residual

    g = grad_y * f',  grad_bias = sum of g,  grad_scale = sum of g * z,
    grad_x = scale / sqrt(var + eps) * (g - mean of g - z * mean of (g * z)), without the means in
    evaluation.  Backward keeps x alone and computes f' again.

Twin: torch.nn.functional.batch_norm and the expressions of formulas.py.
"""

import functools

import torch
import torch.nn.functional as F

from .activation import activate, check_activation, planes
from .backend import uses_torch
from .formulas import NATIVE_ACTIVATIONS
from .grad import first_order, wants_grad
from .native import activation_codes, library, threads
from .operator import operator, result
from .precision import sum_type
from .shapes import ShapeError, same_type
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
    check_channels(x, **dict(zip(CHANNELS, (scale, bias, rolling_mean, rolling_var), strict=True)))
    if uses_torch():
        rolling = rolling_mean, rolling_var
        return activate(_twin(x, scale, bias, rolling, training, momentum, eps), activation)
    if training:
        take, count = functools.partial(_statistics, x.detach()), x[:, :1].numel()
        found = of_batch(take, count, (rolling_mean, rolling_var), momentum, eps)
    else:
        found = rolling_mean.detach().clone(), torch.rsqrt(rolling_var.detach() + eps), None
    return normalised(x, scale, bias, *found, training, activation)


def normalised(x, scale, bias, mean, rstd, total, from_batch, activation):
    """total: None, or the number of values of all ranks that mean and rstd are of."""
    fused = activation if activation in NATIVE_ACTIVATIONS else "linear"
    y = norm_act(x, scale, bias, mean, rstd, total, from_batch, fused)
    return y if fused == activation else activate(y, activation)


def check_channels(x, **channels):
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


def norm_act(x, scale, bias, mean, rstd, total, from_batch, activation):
    """f(scale * (x - mean) * rstd + bias)"""
    if wants_grad(x, scale, bias):
        return _NormAct.apply(x, scale, bias, mean, rstd, total, from_batch, activation)
    return _forward(x, scale, bias, mean, rstd, activation)


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale, bias, mean, rstd, total, from_batch, activation):
        ctx.how = total, from_batch, activation
        ctx.save_for_backward(x, scale, bias, mean, rstd)
        return _forward(x, scale, bias, mean, rstd, activation)

    @staticmethod
    @first_order("batch_norm_act")
    def backward(ctx, grad_y):
        return *norm_act_gradients(grad_y, *ctx.saved_tensors, *ctx.how), *[None] * 5


def norm_act_gradients(grad_y, x, scale, bias, mean, rstd, total, from_batch, activation):
    """Those by x, scale and bias of norm_act."""
    given = x, scale, bias, mean, rstd
    grads = _backward(grad_y, *given, from_batch and total is None, activation)
    subtract_means_of_all(grads, *given, total)
    return grads


def subtract_means_of_all(grads, x, scale, bias, mean, rstd, total):
    """Makes grads (of x, scale, bias) without statistics those with statistics over all ranks."""
    if total is not None:
        factors = means_of_all(scale, mean, rstd, *grads[1:], total)
        across = [1, -1] + [1] * (x.dim() - 2)
        subtract(grads[0], x, *(factor.view(across) for factor in factors))


def channel_pair(x, *_):
    dtype = sum_type(x.dtype)
    return x.new_empty(x.shape[1], dtype=dtype), x.new_empty(x.shape[1], dtype=dtype)


@operator(
    "batch_statistics(Tensor x, Tensor(a!) rolling_mean, Tensor(b!) rolling_var, float momentum, "
    "float eps) -> (Tensor, Tensor)",
    channel_pair,
)
def _statistics(x, rolling_mean, rolling_var, momentum, eps):
    """Mean and 1 / sqrt(var + eps) of each channel; moves the rolling pair in place."""
    if x.numel() == 0:
        return x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1])
    mean, rstd = channel_pair(x)
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


@operator(
    "norm_act_forward(Tensor x, Tensor scale, Tensor bias, Tensor mean, Tensor rstd, "
    "str activation, Tensor? residual=None) -> Tensor",
    lambda x, *_: result(x, x.shape),
)
def _forward(x, scale, bias, mean, rstd, activation, residual=None):
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
    return y if residual is None else y.add_(residual)


@operator(
    "norm_act_into(Tensor(a!) y, Tensor x, Tensor scale, Tensor bias, Tensor mean, Tensor rstd, "
    "str activation, Tensor? residual=None) -> ()",
    lambda *_: None,
)
def _into(y, *given):
    """_forward with the result in y, which may be a slice of the channels of a wider map."""
    y.copy_(_forward(*given))


@operator(
    "norm_act_backward(Tensor grad_y, Tensor x, Tensor scale, Tensor bias, Tensor mean, "
    "Tensor rstd, bool from_batch, str activation) -> (Tensor, Tensor, Tensor)",
    lambda grad_y, x, *_: (
        result(x, x.shape),
        *channel_pair(x),
    ),
)
def _backward(grad_y, x, scale, bias, mean, rstd, from_batch, activation):
    """(grad_x, grad_scale, grad_bias)"""
    grad_y, x = grad_y.contiguous(), x.contiguous()
    grad_x, (grad_scale, grad_bias) = torch.empty_like(x), channel_pair(x)
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

"""Convolution, batch normalisation and activation: y = f(norm(conv(x))).

In training the statistics are taken while the convolution's sums are at hand: on CUDA its kernel
leaves count, mean and spread of every tile, and no pass reads its output again for them.
"""

from .activation import check_activation
from .backend import uses_torch
from .conv import conv2d
from .formulas import NATIVE_ACTIVATIONS
from .norm import CHANNELS, batch_norm_act, check_channels, normalised
from .pending import Normed, Pending, convolve
from .precision import narrowed
from .shapes import conv_shape, pair
from .shared_norm import of_batch
from .unwritten import begins


def convolved(x, weight, geometry):
    """conv2d(x, weight), x may be Pending."""
    if isinstance(x, Pending):
        return convolve(x, weight, None, _pairs(geometry))[0]
    return conv2d(x, weight, None, *geometry)


def conv_batch_norm_act(
    x, weight, channels, rolling, training, activation="linear", geometry=(1, 0, 1, 1),
    momentum=0.01, eps=1e-5,
):  # fmt: skip
    """batch_norm_act(conv2d(x, weight)); channels: scale and bias, rolling: mean and variance,
    geometry: stride, padding, dilation, groups. x may be Pending, and so is the result where the
    layout says so."""
    if uses_torch() or not training:
        x = convolved(x, weight, geometry)
        return batch_norm_act(x, *channels, *rolling, training, activation, momentum, eps)
    check_activation(activation, "conv_batch_norm_act")
    x = x if isinstance(x, Pending) else narrowed(x)
    shape = conv_shape(x, weight, None, *geometry, "conv_batch_norm_act")
    like = weight.new_empty((0, weight.shape[0]), dtype=x.dtype)
    check_channels(like, **dict(zip(CHANNELS, (*channels, *rolling), strict=True)))

    def take(*how):
        return convolve(x, weight, how, _pairs(geometry))

    z, *found = of_batch(take, shape.n * shape.p * shape.q, rolling, momentum, eps)
    if begins(z) and activation in NATIVE_ACTIVATIONS:
        return Pending(z, *channels, Normed(*found, True, activation))
    return normalised(z, *channels, *found, True, activation)


def _pairs(geometry):
    stride, padding, dilation, groups = geometry
    return pair(stride), pair(padding), pair(dilation), groups

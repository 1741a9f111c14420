"""The operators of yolo.ops for CUDA tensors: each has the signature of its CPU sibling.

IMPLEMENTATIONS maps the names of the operators to these functions; register() hands them to
PyTorch's dispatcher.
"""

import functools
from pathlib import Path

import torch

from ..operator import implement
from ..precision import precision, sum_type
from ..shapes import conv_shape, pool_shape
from .choose import choose
from .kernels import Kernels
from .layout import empty_nhwc, pitch_of
from .library import CudaError
from .selftest import refuse
from .structs import GRAD_X

LIBRARY = Path(__file__).parents[2] / "_cuda.so"


@functools.cache
def kernels():
    """The kernels of yolo/_cuda.so; an error in words where it was not built."""
    if not LIBRARY.exists():
        raise CudaError(
            "this build of yolo has no CUDA kernels (yolo/_cuda.so): install it where nvcc is "
            "found, with YOLO_CUDA=1 to be told if it is not; or use yolo.ops.backend('torch')"
        )
    return Kernels(LIBRARY)


@functools.lru_cache(4096)
def _shape(x, weight, *geometry):
    """ConvShape of sizes: a step of training asks for few, and for each many times."""
    x, weight = (torch.empty(size, device="meta") for size in (x, weight))
    return conv_shape(x, weight, None, *geometry)


def _pass(name, x, shape):
    """Name and method of the kernel for this pass."""
    algorithm = choose(shape, x.dtype, precision.current, name)
    refuse(kernels(), algorithm, name, x)
    return algorithm, getattr(kernels(), f"{algorithm}_{name}")


def _weight(weight, algorithm, x):
    """In the type of x, and in one pass as the kernels on tensor cores read it: (k, r, s, c)."""
    last = torch.channels_last if algorithm in ("implicit", "stem") else torch.preserve_format
    return weight.to(x.dtype, memory_format=last)


def conv2d_forward(x, weight, bias, stride, padding, dilation, groups, activation):
    shape = _shape(x.shape, weight.shape, *map(tuple, (stride, padding, dilation)), groups)
    algorithm, run = _pass("forward", x, shape)
    weight = _weight(weight, algorithm, x)
    if algorithm != "im2col":
        return run(shape, x, weight, bias, activation=activation)
    y = run(shape, x, weight, bias, out=empty_nhwc(x, (shape.n, shape.k, shape.p, shape.q)))
    return y if activation == "linear" else bias_act_forward(y, None, activation)


def conv2d_statistics(
    x, weight, rolling_mean, rolling_var, momentum, eps, stride, padding, dilation, groups
):
    shape = _shape(x.shape, weight.shape, *map(tuple, (stride, padding, dilation)), groups)
    algorithm, run = _pass("forward", x, shape)
    tiles = {}
    if algorithm in ("implicit", "stem") and shape.n:
        tiles = {"tiles": kernels().implicit_tiles(shape, x.device)}
    size = shape.n, shape.k, shape.p, shape.q
    y = run(shape, x, _weight(weight, algorithm, x), out=empty_nhwc(x, size), **tiles)
    return y, *batch_statistics(y, rolling_mean, rolling_var, momentum, eps, **tiles)


def conv2d_grad_x(grad_y, weight, size, stride, padding, dilation, groups):
    x = grad_y.shape[0], weight.shape[1] * groups, *size
    shape = _shape(x, weight.shape, *map(tuple, (stride, padding, dilation)), groups)
    algorithm, run = _pass("grad_x", grad_y, shape)
    size = shape.n, shape.c, shape.h, shape.w
    more = {"out": empty_nhwc(grad_y, size)} if algorithm == "im2col" else {}
    return run(shape, grad_y, _weight(weight, algorithm, grad_y), **more)


def conv2d_grad_weight(grad_y, x, size, stride, padding, dilation, groups):
    weight = grad_y.shape[1], x.shape[1] // groups, *size
    shape = _shape(x.shape, weight, *map(tuple, (stride, padding, dilation)), groups)
    _, run = _pass("grad_weight", x, shape)
    return run(shape, x, grad_y).contiguous()


def _planes(x):
    """x (n, c, ...) as (n, c, h, w) with the same memory where that can be."""
    if x.dim() == 4:
        return x
    return x.reshape(*x.shape[:2], 1, -1) if x.numel() else x.new_empty((0, x.shape[1], 1, 1))


def _channels(x, *tensors):
    """Values of channels as the kernels take them beside x."""
    return [t.to(sum_type(x.dtype)).contiguous() for t in tensors]


def batch_statistics(x, rolling_mean, rolling_var, momentum, eps, tiles=None):
    if x.numel() == 0:
        zeros = x.new_zeros(x.shape[1], dtype=sum_type(x.dtype))
        return zeros, zeros.clone()
    rolling = rolling_mean.contiguous(), rolling_var.contiguous()
    mean, rstd = kernels().statistics(_planes(x), rolling, momentum, eps, tiles)
    for mine, new in zip((rolling_mean, rolling_var), rolling, strict=True):
        if mine is not new:
            mine.copy_(new)
        else:
            torch.autograd.graph.increment_version(mine)
    return mean, rstd


def norm_act_forward(x, scale, bias, mean, rstd, activation, residual=None, out=None):
    scale, bias, mean, rstd = _channels(x, scale, bias, mean, rstd)
    residual = None if residual is None else _planes(residual)
    more = {"activation": activation, "residual": residual, "out": out}
    y, _, _ = kernels().norm_act_forward(_planes(x), scale, bias, mean=mean, rstd=rstd, **more)
    return y.view(x.shape)


def norm_act_into(y, *given):
    if pitch_of(y) is None:
        y.copy_(norm_act_forward(*given))
    else:
        norm_act_forward(*given, out=y)


def norm_act_backward(grad_y, x, scale, bias, mean, rstd, from_batch, activation):
    channels = _channels(x, scale, bias, mean, rstd)
    grad_x, grad_scale, grad_bias = kernels().norm_act_backward(
        _planes(grad_y), _planes(x), *channels, from_batch, activation
    )
    return grad_x.view(x.shape), grad_scale, grad_bias


def conv2d_grad_norm_act(
    grad_z, weight, stride, padding, dilation, groups, grad_y, x, *normed
):  # fmt: skip
    *channels, from_batch, activation = normed
    geometry = stride, padding, dilation, groups
    shape = _shape(x.shape, weight.shape, *map(tuple, geometry[:3]), groups)
    algorithm, run = _pass("grad_x", grad_z, shape)
    if algorithm != "implicit" or not shape.n:
        whole = conv2d_grad_x(grad_z, weight, x.shape[2:], *geometry)
        whole = whole if grad_y is None else whole.add_(grad_y)
        return whole, *norm_act_backward(whole, x, *normed)
    refuse(kernels(), algorithm, "sums", grad_z)
    normed = x, *_channels(x, *channels)
    tiles = kernels().implicit_tiles(shape, x.device, GRAD_X)
    weight = _weight(weight, algorithm, grad_z)
    grad_y = run(shape, grad_z, weight, grad_y, (*normed, activation), tiles)
    grads = kernels().norm_act_backward(grad_y, *normed, from_batch, activation, tiles=tiles)
    return grad_y, *grads


def _values(*tensors):
    """Tensors of one shape as rows of eight values if they are dense alike, for f(x) alone."""
    first = tensors[0]
    alike = all(t.stride() == first.stride() for t in tensors)
    if not alike or not torch.ops.aten.is_non_overlapping_and_dense(first):
        tensors = [t.contiguous() for t in tensors]
    columns = 8 if first.numel() % 8 == 0 else 1
    rows = first.numel() // columns
    steps = (columns, 1, columns, columns)
    return [t.as_strided((rows, columns, 1, 1), steps) for t in tensors], tensors[0]


def bias_act_forward(x, bias, activation):
    if bias is None:
        (flat,), like = _values(x)
        y, _, _ = kernels().norm_act_forward(flat, activation=activation)
        return y.as_strided(like.shape, like.stride())
    (bias,) = _channels(x, bias)
    y, _, _ = kernels().norm_act_forward(_planes(x), None, bias, activation=activation)
    return y.view(x.shape)


def bias_act_backward(grad_y, x, bias, activation):
    none = [None] * 3
    if bias is None:
        (flat, x), like = _values(grad_y, x)
        grads = kernels().norm_act_backward(flat, x, None, *none, False, activation, sums=False)
        return grads[0].as_strided(like.shape, like.stride())
    (bias,) = _channels(x, bias)
    grads = kernels().norm_act_backward(
        _planes(grad_y), _planes(x), None, bias, None, None, False, activation, False
    )
    return grads[0].view(x.shape)


def channel_sums(x):
    return kernels().channel_sums(_planes(x))


def maxpool_forward(x, size, stride, padding, with_index):
    shape = pool_shape(x, size, stride, padding)
    y, index = kernels().maxpool_forward(shape, x, with_index=with_index)
    return y, index if with_index else x.new_empty((0,), dtype=torch.int32)


def maxpool_backward(grad_y, at, size, window, stride, padding):
    like = grad_y.new_empty((1,)).expand(*grad_y.shape[:2], *size)
    return kernels().maxpool_grad_x(pool_shape(like, window, stride, padding), grad_y, at)


def spp_forward(x, sizes, ys):
    places = [y if pitch_of(y) is not None else empty_nhwc(x, x.shape) for y in ys]
    _, codes = kernels().spp_forward(x, sizes, places)
    for y, place in zip(ys, places, strict=True):
        if y is not place:
            y.copy_(place)
    return codes


def spp_backward(codes, sizes, grads, other):
    return kernels().spp_grad_x(grads, codes, sizes, other)


def avgpool_forward(x):
    return kernels().avgpool_forward(x)


def avgpool_backward(grad_y, size):
    return kernels().avgpool_grad_x(grad_y, *size)


def upsample(x, stride, scale):
    if stride > 0:
        return kernels().upsample_forward(x, stride, scale)
    return kernels().upsample_grad_x(x, -stride, scale)


def upsample_into(y, *given):
    if pitch_of(y) is None:
        y.copy_(upsample(*given))
    else:
        kernels().upsample_forward(*given, out=y)


def reorg(x, sizes, reverse):
    return kernels().reorg(x, sizes, reverse)


def prelu_forward(x, slope):
    (slope,) = _channels(x, slope)
    return kernels().prelu_forward(_planes(x), slope).view(x.shape)


def prelu_backward(grad_y, x, slope):
    (wide,) = _channels(x, slope)
    grad_x, grad_slope = kernels().prelu_backward(_planes(grad_y), _planes(x), wide)
    return grad_x.view(x.shape), grad_slope.to(slope.dtype)


def roi_align_forward(x, rois, size, samples):
    return kernels().roi_align_forward(x, rois, size, samples)


def roi_align_backward(grad_y, rois, shape, samples):
    return kernels().roi_align_grad_x(grad_y, rois, shape, samples)


def roi_pool_forward(x, rois, size):
    return kernels().roi_pool_forward(x, rois, size)


def roi_pool_backward(grad_y, rois, at, shape):
    return kernels().roi_pool_grad_x(grad_y, rois, at, shape)


IMPLEMENTATIONS = {
    function.__name__: function
    for function in (
        conv2d_forward,
        conv2d_statistics,
        conv2d_grad_x,
        conv2d_grad_weight,
        batch_statistics,
        norm_act_forward,
        norm_act_into,
        norm_act_backward,
        conv2d_grad_norm_act,
        bias_act_forward,
        bias_act_backward,
        prelu_forward,
        prelu_backward,
        channel_sums,
        maxpool_forward,
        maxpool_backward,
        spp_forward,
        spp_backward,
        avgpool_forward,
        avgpool_backward,
        upsample,
        upsample_into,
        reorg,
        roi_align_forward,
        roi_align_backward,
        roi_pool_forward,
        roi_pool_backward,
    )
}


def register():
    for name, function in IMPLEMENTATIONS.items():
        implement(name, function, "CUDA")


__all__ = ["IMPLEMENTATIONS", "CudaError", "kernels", "register"]

"""Sizes of convolutions and pools, derived from tensors once and checked in words.

Letters: n images, c x h x w input, k filters, r x s taps, p x q output.
"""

from typing import NamedTuple

import torch

from .backend import uses_torch


class ShapeError(ValueError):
    """Tensors or settings that do not fit together; the message holds every shape involved."""


class ConvShape(NamedTuple):
    n: int
    c: int
    h: int
    w: int
    k: int
    r: int
    s: int
    p: int
    q: int
    stride: tuple
    padding: tuple
    dilation: tuple
    groups: int


class PoolShape(NamedTuple):
    n: int
    c: int
    h: int
    w: int
    p: int
    q: int
    size: tuple
    stride: tuple
    offset: tuple  # rows above and columns left of the image where the first window starts


def pair(value):
    """3 -> (3, 3); (2, 1) stays: always (vertical, horizontal)."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ShapeError(f"expected one number or (vertical, horizontal), got {value}")
        return int(value[0]), int(value[1])
    return int(value), int(value)


def conv_shape(x, weight, bias, stride, padding, dilation, groups, what="conv2d"):
    """ConvShape of x (n, c, h, w) with weight (k, c / groups, r, s) and bias (k) or None."""
    shapes = f"x {tuple(x.shape)}, weight {tuple(weight.shape)}, groups {groups}"
    if x.dim() != 4 or weight.dim() != 4:
        raise ShapeError(f"{what}: x and weight need 4 dimensions each, got {shapes}")
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    if min(stride) < 1 or min(padding) < 0 or min(dilation) < 1 or groups < 1:
        raise ShapeError(
            f"{what}: stride, dilation and groups must be at least 1, padding at least 0, got "
            f"stride {stride}, padding {padding}, dilation {dilation}, groups {groups}; {shapes}"
        )
    n, c, h, w = x.shape
    k, depth, r, s = weight.shape
    if c != depth * groups:
        raise ShapeError(
            f"{what}: weight {tuple(weight.shape)} with groups {groups} expects "
            f"{depth * groups} input channels, x {tuple(x.shape)} has {c}"
        )
    if k % groups:
        raise ShapeError(f"{what}: {k} filters do not divide into groups, got {shapes}")
    if bias is not None and tuple(bias.shape) != (k,):
        raise ShapeError(f"{what}: bias must have shape ({k},), got {tuple(bias.shape)}; {shapes}")
    p = (h + 2 * padding[0] - dilation[0] * (r - 1) - 1) // stride[0] + 1
    q = (w + 2 * padding[1] - dilation[1] * (s - 1) - 1) // stride[1] + 1
    if min(c, k, r, s, p, q) < 1:
        raise ShapeError(
            f"{what}: nothing to compute, the output would be ({n}, {k}, {p}, {q}); {shapes}, "
            f"stride {stride}, padding {padding}, dilation {dilation}"
        )
    same_type(what, x=x, weight=weight, bias=bias)
    return ConvShape(n, c, h, w, k, r, s, p, q, stride, padding, dilation, groups)


def pool_shape(x, size, stride, padding, what="maxpool2d"):
    """PoolShape by Darknet's rule: `padding` counts both sides together, the smaller half first."""
    if x.dim() != 4:
        raise ShapeError(f"{what}: x needs 4 dimensions (n, c, h, w), got {tuple(x.shape)}")
    size, stride, padding = pair(size), pair(stride), pair(padding)
    if min(size) < 1 or min(stride) < 1 or min(padding) < 0:
        raise ShapeError(
            f"{what}: size and stride must be at least 1 and padding at least 0, got "
            f"size {size}, stride {stride}, padding {padding}"
        )
    n, c, h, w = x.shape
    p = (h + padding[0] - size[0]) // stride[0] + 1
    q = (w + padding[1] - size[1]) // stride[1] + 1
    if min(c, p, q) < 1:
        raise ShapeError(
            f"{what}: nothing to compute, the output would be ({n}, {c}, {p}, {q}); "
            f"x {tuple(x.shape)}, size {size}, stride {stride}, padding {padding}"
        )
    same_type(what, x=x)
    return PoolShape(n, c, h, w, p, q, size, stride, (padding[0] // 2, padding[1] // 2))


# Kinds of device whose kernels take 16-bit tensors.
HALF_DEVICES = {"cuda"}


def same_type(what, x, **parameters):
    """x and its parameters (None is skipped) share one device and one of float32, float64. Where
    x may have 16 bits (on CUDA, or with PyTorch's operators), parameters are float32 or like x."""
    tensors = {"x": x} | {name: t for name, t in parameters.items() if t is not None}
    listed = ", ".join(f"{name} {t.dtype} on {t.device}" for name, t in tensors.items())
    half = x.dtype in (torch.float16, torch.bfloat16)
    types = {t.dtype for t in tensors.values()} - ({torch.float32} if half else set())
    if len(types) > 1 or len({t.device for t in tensors.values()}) > 1:
        raise ShapeError(f"{what}: tensors must share one type and device, got {listed}")
    if half and not (x.device.type in HALF_DEVICES or uses_torch()):
        raise ShapeError(
            f"{what}: float32 or float64 is needed on a CPU, 16 bits are for CUDA; got {listed}"
        )
    if not half and x.dtype not in (torch.float32, torch.float64):
        raise ShapeError(f"{what}: float32 or float64 is needed, got {listed}")

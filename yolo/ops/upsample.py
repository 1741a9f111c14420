"""Nearest-neighbour enlargement:  y[n,c,i,j] = scale * x[n, c, i/stride, j/stride].

A negative stride shrinks: y = scale * sum over each block of |stride| x |stride|.
Twin: torch.nn.functional.interpolate, or a reshape and sum.
"""

import torch.nn.functional as F

from .shapes import ShapeError, same_type


def upsample(x, stride, scale=1.0):
    """x (n, c, h, w) -> (n, c, h * stride, w * stride), or / |stride| where stride < 0."""
    _check(x, stride)
    if stride > 0:
        y = (
            F.interpolate(x, scale_factor=stride, mode="nearest")
            if x.numel()
            else _empty(x, stride)
        )
        return y if scale == 1 else y * scale
    s = -stride
    n, c, h, w = x.shape
    return x.reshape(n, c, h // s, s, w // s, s).sum((3, 5)) * scale


def _empty(x, stride):
    return x.repeat_interleave(stride, 2).repeat_interleave(stride, 3)


def _check(x, stride):
    if x.dim() != 4:
        raise ShapeError(f"upsample: x needs 4 dimensions (n, c, h, w), got {tuple(x.shape)}")
    if stride == 0 or (stride < 0 and (x.shape[2] % -stride or x.shape[3] % -stride)):
        raise ShapeError(
            f"upsample: stride {stride} does not divide x {tuple(x.shape)}; it must not be 0, and "
            "a negative one must divide height and width"
        )
    same_type("upsample", x=x)

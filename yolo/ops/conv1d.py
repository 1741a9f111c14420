"""Convolution over a line: conv2d on an image of height 1, forward and backward.

    y[n,k,q] = bias[k] + sum over c,s of weight[k,c,s] * x[n,c,j]
    j = q * stride + s * dilation - padding; x is 0 outside the line

Twin: torch.nn.functional.conv1d.
"""

from .conv import conv2d
from .shapes import ShapeError


def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """x (n, c, w), weight (k, c/groups, s), bias (k) or None -> y (n, k, q)."""
    if x.dim() != 3 or weight.dim() != 3:
        raise ShapeError(
            "conv1d: expected x (n, c, w) and weight (k, c/groups, s), got "
            f"{tuple(x.shape)} and {tuple(weight.shape)}"
        )
    geometry = (1, stride), (0, padding), (1, dilation), groups
    return conv2d(x.unsqueeze(2), weight.unsqueeze(2), bias, *geometry).squeeze(2)

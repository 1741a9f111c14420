"""Convolution (cross-correlation, as Darknet and PyTorch mean it) and its three passes.

    y[n,k,p,q] = bias[k] + sum over c,r,s of weight[k,c,r,s] * x[n,c,i,j]
    i = p * stride + r * dilation - padding, and j from q and s alike; x is 0 outside the image

Twin: torch.nn.functional.conv2d.
"""

import torch.nn.functional as F

from .activation import activate, check_activation
from .shapes import conv_shape, pair


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """x (n, c, h, w), weight (k, c/groups, r, s), bias (k) or None -> y (n, k, p, q)."""
    conv_shape(x, weight, bias, stride, padding, dilation, groups)
    return F.conv2d(x, weight, bias, pair(stride), pair(padding), pair(dilation), groups)


def conv2d_act(x, weight, bias, activation, stride=1, padding=0, dilation=1, groups=1):
    """activate(conv2d(...) + bias) in one pass over the output where no gradient is wanted."""
    check_activation(activation, "conv2d_act")
    return activate(conv2d(x, weight, bias, stride, padding, dilation, groups), activation)

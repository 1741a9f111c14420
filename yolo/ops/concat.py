"""Concatenation along the channels, into which its parts are written where nobody has before.

    y = (part, part, ...)        a part is a tensor, or Unwritten with the concatenation as its only
                                 reader: then its kernel writes into a slice of y

Backward hands each part its slice of the gradient, which kernels read as it lies.
"""

from typing import NamedTuple

import torch

from .grad import first_order
from .operator import result
from .packed import unpack
from .pending import Unwritten, begins
from .upsample import _into as _enlarge_into
from .upsample import _resize, upsample


class Copied(NamedTuple):
    """A part that is there already."""

    kept = 0

    def write(self, y, x):
        y.copy_(x)

    def gradients(self, grad_y):
        return (grad_y,)


class Enlargement(NamedTuple):
    stride: int
    scale: float

    kept = 0

    def write(self, y, x):
        _enlarge_into(y, x, *self)

    def gradients(self, grad_y):
        return (_resize(grad_y, -self.stride, self.scale),)


class Enlarged(Unwritten):
    """Of an [upsample] layer."""

    def _write(self):
        return upsample(*self.inputs, *self.how)


def enlarge(x, stride, scale):
    """upsample(x, stride, scale), Unwritten where the layout says so."""
    if not (isinstance(x, torch.Tensor) and stride > 0 and x.dim() == 4 and begins(x)):
        return upsample(x, stride, scale)
    n, c, h, w = x.shape
    return Enlarged((x,), Enlargement(stride, scale), torch.Size((n, c, h * stride, w * stride)))


def concatenate(parts):
    """parts: tensors (n, c, h, w), or Unwritten."""
    unwritten = [isinstance(part, Unwritten) and part.alone for part in parts]
    if not any(unwritten) or len({part.dtype for part in parts}) > 1:
        return torch.cat([unpack(part) for part in parts], 1)
    hows, inputs = [], []
    for part, alone in zip(parts, unwritten, strict=True):
        hows.append(part.how if alone else Copied())
        inputs.append(part.inputs if alone else (unpack(part),))
    sizes = [len(given) for given in inputs]
    channels = [part.shape[1] for part in parts]
    shape = parts[0].shape[0], sum(channels), *parts[0].shape[2:]
    return _Concat.apply(hows, sizes, channels, shape, *(t for given in inputs for t in given))


class _Concat(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hows, sizes, channels, shape, *tensors):
        y, kept = result(tensors[0], shape), []
        for how, part, inputs in zip(hows, y.split(channels, 1), cut(tensors, sizes), strict=True):
            how.write(part, *inputs)
            kept += inputs[: how.kept]
        ctx.hows, ctx.channels = hows, channels
        ctx.save_for_backward(*kept)
        return y

    @staticmethod
    @first_order("concatenate")
    def backward(ctx, grad_y):
        kept, grads = cut(ctx.saved_tensors, [how.kept for how in ctx.hows]), []
        for how, grad, given in zip(ctx.hows, grad_y.split(ctx.channels, 1), kept, strict=True):
            grads += how.gradients(grad, *given)
        wanted = zip(grads, ctx.needs_input_grad[4:], strict=True)
        return None, None, None, None, *(grad if wants else None for grad, wants in wanted)


def cut(items, sizes):
    """So many of the items, so many of the next, ..."""
    rest = iter(items)
    return [[next(rest) for _ in range(size)] for size in sizes]

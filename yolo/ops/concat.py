"""Concatenation along the channels, into which its parts are written where nobody has before.

    y = (part, part, ...)        a part is a tensor, or Unwritten with the concatenation as its only
                                 reader: then its kernel writes into a slice of y

The memory of y is there before it where parts with other readers were written into it: place.py.
Backward hands each part its slice of the gradient, which kernels read as it lies. Max pools of one
map are written together (spp.py), and the gradients of them all taken at once.
"""

from typing import NamedTuple

import torch

from .cuda.structs import SPP_LEVELS
from .grad import first_order
from .operator import result
from .packed import unpack
from .spp import Pools, PoolsBesideX
from .unwritten import Copied, Unwritten, begins, needed
from .upsample import _into as _enlarge_into
from .upsample import _resize, upsample


class Enlargement(NamedTuple):
    stride: int
    scale: float

    def write(self, y, x):
        _enlarge_into(y, x, *self)
        return ()

    def gradients(self, grad_y):
        return (_resize(grad_y, -self.stride, self.scale),)


class Enlarged(Unwritten):
    """Of an [upsample] layer."""


def enlarge(x, stride, scale):
    """upsample(x, stride, scale), Unwritten where the layout says so."""
    if not (isinstance(x, torch.Tensor) and stride > 0 and x.dim() == 4 and begins(x)):
        return upsample(x, stride, scale)
    n, c, h, w = x.shape
    return Enlarged((x,), Enlargement(stride, scale), torch.Size((n, c, h * stride, w * stride)))


def concatenate(parts, place=None):
    """parts: tensors (n, c, h, w), or Unwritten; place: the place.Whole in which some of them may
    stand."""
    alone = [isinstance(part, Unwritten) and part.alone for part in parts]
    types = {part.dtype for part in parts}
    stands = place is not None and place.data is not None and types == {place.data.dtype}
    if not (stands or any(alone)) or len(types) > 1:
        return torch.cat([unpack(part) for part in parts], 1)
    pieces = [
        Piece(part.how, [i], part.inputs) if writes else Piece(Copied(), [i], (unpack(part),))
        for i, (part, writes) in enumerate(zip(parts, alone, strict=True))
    ]
    pieces = _pooled_together(pieces)
    channels = [part.shape[1] for part in parts]
    shape = parts[0].shape[0], sum(channels), *parts[0].shape[2:]
    inputs = [t for piece in pieces for t in piece.inputs]
    return _Concat.apply(pieces, channels, shape, place if stands else None, *inputs)


class Piece(NamedTuple):
    """One or more parts that are written at once: how.write(*parts, *inputs)."""

    how: object
    at: list  # numbers of the parts
    inputs: tuple


def _pooled_together(pieces):
    """The pieces, pools of one map made one, with that map where it is a part."""
    pools = [piece for piece in pieces if isinstance(piece.how, Pools)]
    if not pools:
        return pieces
    (x,) = pools[0].inputs
    pools = [piece for piece in pools if piece.inputs[0] is x]
    pools = sorted(pools, key=lambda piece: piece.how.sizes)[:SPP_LEVELS]
    sizes = tuple(size for piece in pools for size in piece.how.sizes)
    beside = [p for p in pieces if isinstance(p.how, Copied) and p.inputs[0] is x][:1]
    how = PoolsBesideX(sizes) if beside else Pools(sizes)
    used = beside + pools
    rest = [piece for piece in pieces if all(piece is not one for one in used)]
    return [*rest, Piece(how, [i for piece in used for i in piece.at], (x,))]


class _Concat(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pieces, channels, shape, place, *tensors):
        y = place.take() if place else result(tensors[0], shape)
        parts, kept, counts = y.split(channels, 1), [], []
        for how, at, inputs in pieces:
            found = how.write(*(parts[i] for i in at), *inputs)
            kept += found
            counts.append(len(found))
        ctx.pieces, ctx.channels = [(how, at) for how, at, _ in pieces], channels
        ctx.counts = counts
        ctx.save_for_backward(*kept)
        return y

    @staticmethod
    @first_order("concatenate")
    def backward(ctx, grad_y):
        parts, kept, grads = grad_y.split(ctx.channels, 1), cut(ctx.saved_tensors, ctx.counts), []
        for (how, at), given in zip(ctx.pieces, kept, strict=True):
            grads += how.gradients(*(parts[i] for i in at), *given)
        return None, None, None, None, *needed(grads, ctx.needs_input_grad[4:])


def cut(items, sizes):
    """So many of the items, so many of the next, ..."""
    rest = iter(items)
    return [[next(rest) for _ in range(size)] for size in sizes]

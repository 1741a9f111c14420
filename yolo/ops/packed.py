"""The layout in which the CPU kernels compute, carried from layer to layer in training.

    planar   x[n][c][h][w]
    packed   x[n][c / V][h + 2][w + 2][c % V]      V = 16, 8 or 4 lanes of the instruction set

Channels are filled up to a multiple of V, and a border of one pixel lies around each map; what lies
there is zero or never read.

    with layout("packed"):          # convolutions of float32 on the CPU leave packed tensors
        loss = net.loss(x, truth)

A network enters the layout at its first convolution; whoever cannot read it gets unpack(x).
"""

import itertools

import torch

from . import packed_memory
from .backend import uses_torch
from .grad import first_order
from .native import library, threads
from .packed_memory import BORDER, lanes
from .packed_recipe import KEPT, Joined, Recipe, joined
from .packed_sum import write_sum
from .place import whole_of
from .precision import half_type
from .switch import Switch

# What layers hand on in training. packed: what the device computes with best, on the CPU the layout
# above, on CUDA what pending.py describes; pending: that on any device
layout = Switch("layout", ("planar", "packed", "pending"))


class Packed:
    """A packed tensor: data (n, blocks, h + 2, w + 2, V), of which `channels` exist.

    recipe: what the data can be made of again where it is part of a concatenation.
    place: the place.Part that the data is, if it is one.
    """

    def __init__(self, data, channels, recipe=None, place=None):
        self.data, self.channels, self.place = data, channels, place
        self.recipe = recipe or Recipe(KEPT, (data.detach(),))
        self._planar, self._readers = None, []

    @property
    def shape(self):
        n, _, rows, columns, _ = self.data.shape
        return torch.Size((n, self.channels, rows - 2 * BORDER, columns - 2 * BORDER))

    @property
    def dtype(self):
        return self.data.dtype

    @property
    def device(self):
        return self.data.device

    def dim(self):
        return 4

    def kept(self):
        """What a reader keeps that needs the data again in its backward pass (packed_recipe.py)."""
        whole = isinstance(self.recipe.how, Joined)
        return self.recipe if whole else Recipe(KEPT, (self.data.detach(),))

    def expect(self, readers):
        """That many calls of reader() will follow."""
        if readers > 1 and self.data.requires_grad:
            copies = _Fork.apply(self.data, readers)
            self._readers = [Packed(d, self.channels, self.recipe, self.place) for d in copies]
        return self

    def reader(self):
        """The tensor for one reader."""
        return self._readers.pop() if self._readers else self

    def planar(self):
        """The same as an ordinary tensor (n, c, h, w), made once."""
        if self._planar is None:
            self._planar = _Unpack.apply(self.data, self.channels)
        return self._planar


def begins(x):
    """Whether a convolution of the ordinary tensor x is to leave a packed one."""
    if layout.current != "packed" or uses_torch() or torch.compiler.is_compiling():
        return False
    float32 = x.dtype == torch.float32 and half_type(x.device) is None
    plain = type(x) is torch.Tensor and x.is_cpu and x.numel() > 0
    return float32 and plain and torch.is_grad_enabled()


def pack(x):
    """Ordinary (n, c, h, w) -> Packed."""
    return Packed(_Pack.apply(x), x.shape[1])


def unpack(x):
    """Packed, Pending -> ordinary tensor; any other tensor stays."""
    return x if isinstance(x, torch.Tensor) else x.planar()


def can_join(channels):
    """Whether packed tensors of so many channels can stand one after the other."""
    return all(c % lanes() == 0 for c in channels[:-1])


def blocks(channels):
    """Sizes along dimension 1 of packed tensors of so many channels."""
    return [-(-c // lanes()) for c in channels]


def can_part(channels, groups):
    """Whether a group of the channels is a packed tensor again."""
    return groups == 1 or (channels // groups) % lanes() == 0


def join(parts):
    """Concatenation of Packed along the channels."""
    if len(parts) == 1:
        return parts[0]
    whole, channels = whole_of([x.place for x in parts]), sum(x.channels for x in parts)
    data = _Join.apply(whole, *[x.data for x in parts])
    again = joined([x.recipe for x in parts]) if whole is None else None
    return Packed(data, channels, again)


def part(x, groups, index):
    """Part number `index` of `groups` equal parts of the channels."""
    if groups == 1:
        return x
    channels = x.channels // groups
    data = _Part.apply(x.data, channels, index)
    how, tensors = x.recipe
    known = not isinstance(how, Joined)
    recipe = how.part(tensors, index * channels, channels) if known else None
    return Packed(data, channels, recipe)


def can_match(channels, wanted):
    """Whether match() gives so many channels."""
    return channels == wanted or min(channels, wanted) % lanes() == 0


def match(x, channels):
    """The first `channels` of x, zeros after them where it has fewer."""
    if x.channels == channels:
        return x
    if x.channels > channels:
        return Packed(_Part.apply(x.data, channels, 0), channels)
    return Packed(_Widen.apply(x.data, -(-channels // lanes())), channels)


def add(x, y):
    """Sum of two Packed of the same shape."""
    return Packed(_Add.apply(x.data, y.data), x.channels)


def _sum(like, blocks, terms):
    """Sum of terms (first block, data) into so many blocks of maps like those of `like`."""
    y = packed_memory.empty_data((like.shape[0], blocks, *like.shape[2:]))
    write_sum(y, terms)
    return y


class _Widen(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, blocks):
        ctx.blocks = x.shape[1]
        return _sum(x, blocks, [(0, x)])

    @staticmethod
    @first_order("widen")
    def backward(ctx, grad):
        return grad[:, : ctx.blocks], None


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        return _sum(x, x.shape[1], [(0, x), (0, y)])

    @staticmethod
    @first_order("add")
    def backward(ctx, grad):
        return grad, grad


class _Fork(torch.autograd.Function):
    """One tensor for several readers; their gradients are added in one pass."""

    @staticmethod
    def forward(ctx, x, readers):
        ctx.set_materialize_grads(False)
        return tuple(x.view_as(x) for _ in range(readers))

    @staticmethod
    @first_order("fork")
    def backward(ctx, *grads):
        grads = [g for g in grads if g is not None]
        if len(grads) < 2:
            return (grads or [None])[0], None
        return _sum(grads[0], grads[0].shape[1], [(0, g) for g in grads]), None


class _Part(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, channels, index):
        blocks = channels // x.shape[4]
        ctx.whole, ctx.first = x.shape[1], index * blocks
        return x[:, ctx.first : ctx.first + blocks]

    @staticmethod
    @first_order("part")
    def backward(ctx, grad):
        return _sum(grad, ctx.whole, [(ctx.first, grad)]), None, None


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx, whole, *parts):
        ctx.blocks = [x.shape[1] for x in parts]
        if whole is not None:
            return whole
        first = itertools.accumulate(ctx.blocks, initial=0)
        return _sum(parts[0], sum(ctx.blocks), list(zip(first, parts, strict=False)))

    @staticmethod
    @first_order("join")
    def backward(ctx, grad):
        return None, *grad.split(ctx.blocks, 1)


class _Pack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.channels = x.shape[1]
        return _to_packed(x)

    @staticmethod
    @first_order("pack")
    def backward(ctx, grad):
        return _to_planar(grad, ctx.channels)


class _Unpack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, data, channels):
        return _to_planar(data, channels)

    @staticmethod
    @first_order("unpack")
    def backward(ctx, grad):
        return _to_packed(grad), None


def _to_packed(x):
    x, y = x.contiguous(), packed_memory.empty(*x.shape)
    library().packed.pack(tuple(x.shape), x.data_ptr(), y.data_ptr(), threads())
    return y


def _to_planar(data, channels):
    x, shape = data.contiguous(), Packed(data, channels).shape
    y = packed_memory.empty_data(shape)
    library().packed.unpack(tuple(shape), x.data_ptr(), y.data_ptr(), threads())
    return y

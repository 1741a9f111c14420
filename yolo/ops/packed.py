"""The layout in which the CPU kernels compute, carried from layer to layer in training.

    planar   x[n][c][h][w]
    packed   x[n][c / V][h + 2][w + 2][c % V]      V = 16, 8 or 4 lanes of the instruction set

Channels are filled up to a multiple of V, and a border of one pixel lies around each map; what lies
there is zero or never read.

    with layout("packed"):          # convolutions of float32 on the CPU leave packed tensors
        loss = net.loss(x, truth)

A network enters the layout at its first convolution; whoever cannot read it gets unpack(x).
"""

import threading

import torch

from .backend import uses_torch
from .grad import first_order
from .native import library, threads
from .precision import half_type
from .switch import Switch

BORDER = 1

layout = Switch("layout", ("planar", "packed"))


class Packed:
    """A packed tensor: data (n, blocks, h + 2, w + 2, V), of which `channels` exist."""

    def __init__(self, data, channels):
        self.data, self.channels = data, channels
        self._planar = None

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

    def planar(self):
        """The same as an ordinary tensor (n, c, h, w), made once."""
        if self._planar is None:
            self._planar = _Unpack.apply(self.data, self.channels)
        return self._planar


def lanes():
    """V of the instruction set in use."""
    return library().packed.level()[1]


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
    """Packed -> ordinary tensor; any other tensor stays."""
    return x.planar() if isinstance(x, Packed) else x


def empty(n, channels, height, width):
    """Uninitialised data of a Packed; its writer writes the border too."""
    v = lanes()
    return torch.empty(n, -(-channels // v), height + 2 * BORDER, width + 2 * BORDER, v)


def can_join(channels):
    """Whether packed tensors of so many channels can stand one after the other."""
    return all(c % lanes() == 0 for c in channels[:-1])


def can_part(channels, groups):
    """Whether a group of the channels is a packed tensor again."""
    return groups == 1 or (channels // groups) % lanes() == 0


def join(parts):
    """Concatenation of Packed along the channels."""
    if len(parts) == 1:
        return parts[0]
    return Packed(torch.cat([x.data for x in parts], 1), sum(x.channels for x in parts))


def part(x, groups, index):
    """Part number `index` of `groups` equal parts of the channels."""
    if groups == 1:
        return x
    channels, blocks = x.channels // groups, x.channels // groups // lanes()
    return Packed(x.data[:, index * blocks : (index + 1) * blocks], channels)


def add(x, y):
    """Sum of two Packed of the same shape."""
    return Packed(x.data + y.data, x.channels)


_thread = threading.local()


def workspace(floats):
    """Scratch memory of this thread; the next call may hand out the same again."""
    kept = getattr(_thread, "workspace", None)
    if kept is None or kept.numel() < floats:
        _thread.workspace = None  # gone before the larger one comes
        _thread.workspace = kept = torch.empty(floats)
    return kept


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
    x, y = x.contiguous(), empty(*x.shape)
    library().packed.pack(tuple(x.shape), x.data_ptr(), y.data_ptr(), threads())
    return y


def _to_planar(data, channels):
    x, shape = data.contiguous(), Packed(data, channels).shape
    y = x.new_empty(shape)
    library().packed.unpack(tuple(shape), x.data_ptr(), y.data_ptr(), threads())
    return y

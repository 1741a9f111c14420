"""Pools, enlargements and [reorg] of packed tensors (packed.py)."""

import torch

from . import packed_memory
from .grad import first_order
from .native import library, native_pool_shape, threads
from .packed import Packed
from .packed_recipe import read
from .packed_sum import images


def maxpool2d(x, shape):
    """Packed x -> Packed, shape being its PoolShape."""
    return Packed(_MaxPool.apply(x.data, shape, x.kept()), x.channels)


def avgpool(x):
    """Packed x -> Packed (n, c, 1, 1): the mean of each channel."""
    return Packed(_AvgPool.apply(x.data, tuple(x.shape)), x.channels)


def enlarge(x, scale, gain):
    """Packed x (n, c, h, w) -> Packed (n, c, h * scale, w * scale), values times gain."""
    return Packed(_Enlarge.apply(x.data, tuple(x.shape), scale, gain), x.channels)


def reorg(x, small, walk, to_small):
    """Packed x -> Packed, by a walk (reorg.py) between maps of the size `small` and larger ones."""
    channels = small[1] if to_small else small[1] // walk[3] ** 2
    return Packed(_Reorg.apply(x.data, small, walk, to_small), channels)


class _MaxPool(torch.autograd.Function):
    """Keeps y, as the next layer does, and x or what gives x: the largest cells are found anew."""

    @staticmethod
    def forward(ctx, x, shape, recipe):
        x, image = images(x)
        y = packed_memory.empty(shape.n, shape.c, shape.p, shape.q)
        native = native_pool_shape(shape)
        library().packed.max_pool(native, x.data_ptr(), image, y.data_ptr(), threads())
        ctx.native, ctx.size, ctx.recipe = native, shape[:4], recipe.how
        ctx.save_for_backward(y, *recipe.tensors)
        return y

    @staticmethod
    @first_order("maxpool2d")
    def backward(ctx, grad_y):
        y, *kept = ctx.saved_tensors
        x, image = images(read(ctx.recipe, kept))
        grad_y, grad_image = images(grad_y)
        grad_x = packed_memory.empty(*ctx.size)
        given = x.data_ptr(), image, y.data_ptr(), grad_y.data_ptr(), grad_image
        library().packed.max_pool_grad(ctx.native, *given, grad_x.data_ptr(), threads())
        return grad_x, None, None


class _AvgPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, size):
        ctx.size = size
        (x, image), y = images(x), packed_memory.empty(*size[:2], 1, 1)
        library().packed.average_pool(size, (x.data_ptr(), image), y.data_ptr(), threads())
        return y

    @staticmethod
    @first_order("avgpool")
    def backward(ctx, grad_y):
        (grad_y, image), grad_x = images(grad_y), packed_memory.empty(*ctx.size)
        given = grad_y.data_ptr(), image
        library().packed.average_pool_grad(ctx.size, given, grad_x.data_ptr(), threads())
        return grad_x, None


class _Enlarge(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, size, scale, gain):
        ctx.size, ctx.scale, ctx.gain = size, scale, gain
        n, c, h, w = size
        (x, image), y = images(x), packed_memory.empty(n, c, h * scale, w * scale)
        pointers = x.data_ptr(), image, y.data_ptr()
        library().packed.enlarge(size, scale, gain, *pointers, threads())
        return y

    @staticmethod
    @first_order("upsample")
    def backward(ctx, grad_y):
        (grad_y, image), grad_x = images(grad_y), packed_memory.empty(*ctx.size)
        pointers = grad_y.data_ptr(), image, grad_x.data_ptr()
        library().packed.block_sums(ctx.size, ctx.scale, ctx.gain, *pointers, threads())
        return grad_x, None, None, None


class _Reorg(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, *way):
        ctx.way = way
        return _walked(x, *way)

    @staticmethod
    @first_order("reorg")
    def backward(ctx, grad_y):
        small, walk, to_small = ctx.way
        return _walked(grad_y, small, walk, not to_small), None, None, None


def _walked(x, small, walk, to_small):
    (n, c, h, w), s = small, walk[3]
    y = packed_memory.empty(*small if to_small else (n, c // s**2, h * s, w * s))
    x, image = images(x)
    given = (x.data_ptr(), image), y.data_ptr()
    library().packed.reorg(small, walk, to_small, *given, threads())
    return y

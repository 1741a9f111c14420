"""Products and activations of packed tensors (packed.py), pixel by pixel.

multiply(x, y)       x * y, y of x's size or one pixel (n, c, 1, 1) of each image
activate(x, name)    f(x)
add_act(x, y, name)  f(x + y)
"""

import torch

from . import packed, packed_memory
from .grad import first_order
from .native import activation_codes, library, threads
from .packed import Packed
from .packed_recipe import read
from .packed_sum import images

# Those whose slope at x can be told from f(x): their sum need not be kept
TOLD_FROM_VALUE = ("linear", "leaky", "relu", "relu6", "ramp")


def multiply(x, y):
    """Product of two tensors or of two Packed, then y of x's shape or (n, c, 1, 1)."""
    if not isinstance(x, Packed):
        return x * y
    data = _Multiply.apply(x.data, y.data, tuple(x.shape), x.kept(), y.kept())
    return Packed(data, x.channels)


def activate(x, name):
    """f of a Packed, one of NATIVE_ACTIVATIONS."""
    if name == "linear":
        return x
    return Packed(_Activate.apply(x.data, tuple(x.shape), name), x.channels)


def add_act(x, y, name):
    """f of the sum of two Packed of one shape."""
    if name == "linear" or name not in TOLD_FROM_VALUE:
        return activate(packed.add(x, y), name)
    return Packed(_AddAct.apply(x.data, y.data, tuple(x.shape), name), x.channels)


def drop(x, probability):
    """Dropout of a Packed. Its random numbers are made of a key from PyTorch's generator and of the
    place of each value; the gradient makes them again."""
    key = torch.randint(1 << 32, (2,)).tolist()
    return Packed(_Drop.apply(x.data, (tuple(x.shape), probability, key)), x.channels)


class _Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y, size, x_recipe, y_recipe):
        ctx.broadcast = x.shape != y.shape
        (x, x_at), (y, y_at), product = _read(x), _read(y), packed_memory.empty(*size)
        after = True, ctx.broadcast, activation_codes()["linear"], product.data_ptr(), threads()
        library().packed.pointwise(size, x_at, y_at, *after)
        ctx.size, ctx.recipes = size, (x_recipe.how, y_recipe.how, len(x_recipe.tensors))
        ctx.save_for_backward(*x_recipe.tensors, *y_recipe.tensors)
        return product

    @staticmethod
    @first_order("multiply")
    def backward(ctx, grad):
        (x_how, y_how, count), kept = ctx.recipes, ctx.saved_tensors
        x, x_at = _read(read(x_how, kept[:count]))
        y, y_at = _read(read(y_how, kept[count:]))
        grad, grad_at = _read(grad)
        grad_x = packed_memory.empty_data(x.shape)
        grad_y = packed_memory.empty_data(y.shape) if ctx.needs_input_grad[1] else None
        results = grad_x.data_ptr(), 0 if grad_y is None else grad_y.data_ptr()
        library().packed.product_grad(
            ctx.size, x_at, y_at, ctx.broadcast, grad_at, *results, threads()
        )
        return grad_x, grad_y, None, None, None


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, how):
        ctx.how = how
        return _dropped(x, how)

    @staticmethod
    @first_order("dropout")
    def backward(ctx, grad):
        return _dropped(grad, ctx.how), None


def _dropped(x, how):
    (x, x_at), y = _read(x), packed_memory.empty_data(x.shape)
    library().packed.drop(*how, x_at, y.data_ptr(), threads())
    return y


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, size, name):
        ctx.save_for_backward(x)
        (x, x_at), y = _read(x), packed_memory.empty(*size)
        ctx.how = size, activation_codes()[name]
        library().packed.activate_map(*ctx.how, x_at, y.data_ptr(), threads())
        return y

    @staticmethod
    @first_order("activate")
    def backward(ctx, grad):
        return _slope_product(ctx, grad), None, None


class _AddAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y, size, name):
        (x, x_at), (y, y_at), out = _read(x), _read(y), packed_memory.empty(*size)
        ctx.how = size, activation_codes()[name]
        after = False, False, ctx.how[1], out.data_ptr(), threads()
        library().packed.pointwise(size, x_at, y_at, *after)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @first_order("add_act")
    def backward(ctx, grad):
        grad = _slope_product(ctx, grad)
        return grad, grad, None, None


def _slope_product(ctx, grad):
    """grad * f'(x) of the x that was saved."""
    (x, x_at), (grad, grad_at) = _read(ctx.saved_tensors[0]), _read(grad)
    grad_x = packed_memory.empty_data(x.shape)
    library().packed.slope_product(*ctx.how, x_at, grad_at, grad_x.data_ptr(), threads())
    return grad_x


def _read(data):
    """data as kernels read it, and where it lies: its address and the floats between images."""
    data, image = images(data)
    return data, (data.data_ptr(), image)

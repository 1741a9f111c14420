"""Products and activations of packed tensors (packed.py), pixel by pixel.

multiply(x, y)       x * y, y of x's size, one pixel (n, c, 1, 1) or one channel (n, 1, h, w)
weighted_sum         a0 x0 + a1 x1 + ..., a factor for each channel
activate(x, name)    f(x)
add_act(x, y, name)  f(x + y)
prelu(x, slope)      x where x > 0, else x * slope, one a channel
"""

import torch

from . import packed, packed_memory
from .grad import first_order
from .native import activation_codes, library, threads
from .packed import Packed
from .packed_recipe import read
from .packed_sum import images, write_sum

# Those whose slope at x can be told from f(x): their sum need not be kept
TOLD_FROM_VALUE = ("linear", "leaky", "relu", "relu6", "ramp")
NOT, PIXEL, CHANNEL = range(3)  # how a factor is spread over what it multiplies


def multiply(x, y):
    """Product of two tensors or of two Packed, y of x's shape, (n, c, 1, 1) or (n, 1, h, w)."""
    if not isinstance(x, Packed):
        return x * y
    spread = NOT if x.shape == y.shape else CHANNEL if x.shape[2:] == y.shape[2:] else PIXEL
    data = _Multiply.apply(x.data, y.data, tuple(x.shape), spread, x.kept(), y.kept())
    return Packed(data, x.channels)


def weighted_sum(xs, factors):
    """Sum of Packed, xs[i] times factors[i] (c) or (1); those of fewer channels than the first one
    count where they have any."""
    n, c = xs[0].shape[:2]
    xs = [packed.match(x, c) if x.channels > c else x for x in xs]
    factors = [f[: x.channels].expand(x.channels) for x, f in zip(xs, factors, strict=True)]
    pixels = [_pixels(f, n) for f in factors]
    sizes, recipes = [tuple(x.shape) for x in xs], [x.kept() for x in xs]
    return Packed(_WeightedSum.apply(sizes, recipes, *[x.data for x in xs], *pixels), c)


def _pixels(values, images):
    """Packed data of (images, c, 1, 1), equal in every image, of values (c)."""
    return packed.pack(values.view(1, -1, 1, 1).expand(images, -1, 1, 1)).data


def prelu(x, slope):
    """Packed x, slope (c) -> Packed."""
    slopes = _pixels(slope, x.shape[0])
    return Packed(_Prelu.apply(x.data, slopes, tuple(x.shape), x.kept()), x.channels)


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
    def forward(ctx, x, y, size, spread, x_recipe, y_recipe):
        (x, x_at), (y, y_at), product = _read(x), _read(y), packed_memory.empty(*size)
        after = True, spread, activation_codes()["linear"], product.data_ptr(), threads()
        library().packed.pointwise(size, x_at, y_at, *after)
        ctx.how, ctx.recipes = (size, spread), (x_recipe.how, y_recipe.how, len(x_recipe.tensors))
        ctx.save_for_backward(*x_recipe.tensors, *y_recipe.tensors)
        return product

    @staticmethod
    @first_order("multiply")
    def backward(ctx, grad):
        (x_how, y_how, count), kept = ctx.recipes, ctx.saved_tensors
        x, y = read(x_how, kept[:count]), read(y_how, kept[count:])
        return *_product_grad(*ctx.how, x, y, grad, ctx.needs_input_grad[1]), *[None] * 4


def _product_grad(size, spread, x, y, grad, wants_y):
    """Gradients of x * y by x and, if wanted, by y."""
    (x, x_at), (y, y_at), (grad, grad_at) = _read(x), _read(y), _read(grad)
    (grad_x, grad_y), results = _gradients(x, y, wants_y)
    library().packed.product_grad(size, x_at, y_at, spread, grad_at, *results, threads())
    return grad_x, grad_y


def _gradients(x, y, wants_y):
    """Memory for the gradients by x and, if wanted, by y, and where it lies."""
    grad_x = packed_memory.empty_data(x.shape)
    grad_y = packed_memory.empty_data(y.shape) if wants_y else None
    return (grad_x, grad_y), (grad_x.data_ptr(), grad_y.data_ptr() if wants_y else 0)


class _Prelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, slope, size, recipe):
        (x, x_at), (slope, slope_at), y = _read(x), _read(slope), packed_memory.empty(*size)
        library().packed.prelu(size, x_at, slope_at, y.data_ptr(), threads())
        ctx.size, ctx.recipe = size, recipe.how
        ctx.save_for_backward(slope, *recipe.tensors)
        return y

    @staticmethod
    @first_order("prelu")
    def backward(ctx, grad):
        slope, *kept = ctx.saved_tensors
        (x, x_at), (slope, slope_at) = _read(read(ctx.recipe, kept)), _read(slope)
        (grad, grad_at), wanted = _read(grad), ctx.needs_input_grad[1]
        grads, results = _gradients(x, slope, wanted)
        library().packed.prelu_grad(ctx.size, x_at, slope_at, grad_at, *results, threads())
        return *grads, None, None


class _WeightedSum(torch.autograd.Function):
    """Of xs and as many factors (n, c, 1, 1), all of them data of Packed."""

    @staticmethod
    def forward(ctx, sizes, recipes, *tensors):
        count = len(sizes)
        xs, factors = tensors[:count], tensors[count:]
        y = packed_memory.empty(*sizes[0])
        write_sum(y, [(0, x) for x in xs], factors)
        ctx.sizes, ctx.hows = sizes, [(recipe.how, len(recipe.tensors)) for recipe in recipes]
        ctx.save_for_backward(*factors, *[t for recipe in recipes for t in recipe.tensors])
        return y

    @staticmethod
    @first_order("weighted_sum")
    def backward(ctx, grad):
        count, grads = len(ctx.sizes), []
        factors, kept = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        for size, (how, mine), factor in zip(ctx.sizes, ctx.hows, factors, strict=True):
            x, kept = read(how, kept[:mine]), kept[mine:]
            part = grad[:, : x.shape[1]]
            grads.append(_product_grad(size, PIXEL, x, factor, part, ctx.needs_input_grad[-1]))
        return None, None, *[g for g, _ in grads], *[g for _, g in grads]


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
        after = False, NOT, ctx.how[1], out.data_ptr(), threads()
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

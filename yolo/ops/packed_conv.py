"""A convolutional layer over packed tensors (packed.py): y = f(norm(x * weight)).

    z = x * weight
    y = f(scale * (z - mean) * rstd + bias)       normalised, mean and rstd of z or given
    y = f(z + bias)                               not normalised: mean 0, rstd 1, scale 1

Forward: the convolution, one pass for the moments, one for y.  Backward: one pass for the sums, one
for the gradient by z, then those by x and the weight.  z is kept, and y by those of its readers
that want it in their backward pass; f' is computed again, and so is y where it is part of a
concatenation (packed_recipe.py).
"""

import functools

import torch
import torch.nn.functional as F

from . import packed, packed_memory
from .formulas import NATIVE_ACTIVATIONS
from .grad import first_order
from .native import activation_codes, library, native_conv_shape, threads
from .packed import Packed
from .packed_recipe import Kept, NormAct, hollow, read
from .precision import precision
from .shapes import conv_shape
from .shared_norm import means_of_all, of_batch, subtract


def fits(size, stride, padding, dilation, groups, activation):
    """Whether there are packed kernels for such a layer; stride (vertical, horizontal)."""
    if dilation != 1 or groups != 1 or stride[0] != stride[1]:
        return False
    if activation not in NATIVE_ACTIVATIONS:
        return False
    return (size, stride[0], padding) in ((1, 1, 0), (3, 1, 1), (3, 2, 1))


def conv_bias_act(x, weight, bias, activation, stride, padding):
    """Packed or planar x -> Packed f(x * weight + bias)."""
    one, zero = torch.ones_like(bias), torch.zeros_like(bias)
    return _block(x, weight, one, bias, (zero, one), False, activation, stride, padding)


def conv_norm_act(
    x,
    weight,
    scale,
    bias,
    rolling,
    training,
    activation,
    stride,
    padding,
    momentum=0.01,
    eps=1e-5,
):
    """Packed or planar x -> Packed f(batch norm of x * weight); rolling: mean and variance, which
    move in training and are used otherwise."""
    if training:
        fixed = rolling, momentum, eps
    else:
        fixed = rolling[0].clone(), torch.rsqrt(rolling[1] + eps)
    return _block(x, weight, scale, bias, fixed, training, activation, stride, padding)


def _block(x, weight, scale, bias, statistics, from_batch, activation, stride, padding):
    shape = conv_shape(x, weight, bias, stride, padding, 1, 1, "conv_norm_act")
    planar = not isinstance(x, Packed)
    if planar and (x.requires_grad or not _stem_fits(shape)):
        x, planar = packed.pack(x), False
    conv = _conv(shape, planar, precision.current == "fast", threads(), packed_memory.lanes())
    data, recipe = (x, Kept(x)) if planar else (x.data, x.kept())
    how = statistics, from_batch, activation, shape, conv
    y, *inputs = _Block.apply(data, weight, scale, bias, recipe, *how)
    again = NormAct(*inputs, scale, bias, activation) if y.requires_grad else None
    return Packed(y, shape.k, again)


def _stem_fits(shape):
    return library().packed.ConvTraining.fits(native_conv_shape(shape), True)


@functools.lru_cache(4096)
def _conv(shape, planar, fast, threads, lanes):
    return library().packed.ConvTraining(native_conv_shape(shape), planar, fast, threads)


class _Block(torch.autograd.Function):
    """Gives y, and beside it z, mean and rstd, from which y can be computed again."""

    @staticmethod
    def forward(
        ctx, x, weight, scale, bias, recipe, statistics, from_batch, activation, shape, conv
    ):
        x, image = _images(x)
        weight, size = weight.contiguous(), (shape.n, shape.k, shape.p, shape.q)
        z, y = packed_memory.empty(*size), packed_memory.empty(*size)
        space = packed_memory.workspace(max(conv.workspace, library().packed.norm_workspace(size)))
        conv.forward(x.data_ptr(), image, weight.data_ptr(), z.data_ptr(), space.data_ptr())
        if from_batch:
            take, count = (
                functools.partial(_statistics, z, size, space),
                shape.n * shape.p * shape.q,
            )
            mean, rstd, total = of_batch(take, count, *statistics)
        else:
            (mean, rstd), total = statistics, None
        again = NormAct(z, mean, rstd, scale, bias, activation)
        again.write(again.tensors, y)
        ctx.save_for_backward(weight, z, mean, rstd, scale, bias, *recipe.tensors)
        ctx.rest = hollow(recipe), size, from_batch and total is None, activation, shape, conv
        ctx.total = total
        ctx.mark_non_differentiable(z, mean, rstd)
        ctx.set_materialize_grads(False)
        return y, z, mean, rstd

    @staticmethod
    @first_order("conv_norm_act")
    def backward(ctx, grad_y, *_):
        weight, z, mean, rstd, scale, bias, *kept = ctx.saved_tensors
        recipe, size, from_batch, activation, shape, conv = ctx.rest
        grad_y, grad_image = packed.images(grad_y)
        grad_scale, grad_bias = torch.empty_like(scale), torch.empty_like(bias)
        grad_z = packed_memory.empty(*size)
        space = packed_memory.workspace(max(library().packed.norm_workspace(size), conv.workspace))
        library().packed.norm_act_backward(
            size,
            grad_y.data_ptr(),
            grad_image,
            z.data_ptr(),
            _addresses(mean, rstd, scale, bias),
            activation_codes()[activation],
            from_batch,
            grad_z.data_ptr(),
            grad_scale.data_ptr(),
            grad_bias.data_ptr(),
            space.data_ptr(),
            threads(),
        )
        if ctx.total is not None:
            found = means_of_all(scale, mean, rstd, grad_scale, grad_bias, ctx.total)
            _subtract_inside(grad_z, z, *found)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[1]:
            x, image = _images(read(recipe, kept))
            grad_weight = torch.empty_like(weight)
            pointers = grad_weight.data_ptr(), space.data_ptr()
            conv.grad_weight(grad_z.data_ptr(), x.data_ptr(), image, *pointers)
            del x  # its memory goes to grad_x
        if ctx.needs_input_grad[0]:
            grad_x = packed_memory.empty(shape.n, shape.c, shape.h, shape.w)
            pointers = grad_x.data_ptr(), space.data_ptr()
            conv.grad_x(grad_z.data_ptr(), weight.data_ptr(), *pointers)
        return grad_x, grad_weight, grad_scale, grad_bias, *[None] * 6


def _images(x):
    """x and the floats from one image to the next (0: an ordinary tensor)."""
    return packed.images(x) if x.dim() == 5 else (x.contiguous(), 0)


def _subtract_inside(grad_z, z, a, b):
    """grad_z -= a + b * z, but for the border, which is read as zeros."""
    inside = slice(packed_memory.BORDER, -packed_memory.BORDER)
    blocks, lanes = z.shape[1], z.shape[4]
    shape = blocks, 1, 1, lanes
    a, b = (F.pad(t, (0, blocks * lanes - len(t))).view(shape) for t in (a, b))
    subtract(grad_z[:, :, inside, inside], z[:, :, inside, inside], a, b)


def _addresses(*tensors):
    return [t.data_ptr() for t in tensors]


def _statistics(z, size, space, rolling_mean, rolling_var, momentum, eps):
    """Mean and 1 / sqrt(var + eps) of each channel of z; moves the rolling pair in place."""
    mean, rstd = torch.empty_like(rolling_mean), torch.empty_like(rolling_var)
    library().packed.norm_statistics(
        size,
        z.data_ptr(),
        momentum,
        eps,
        _addresses(rolling_mean, rolling_var),
        mean.data_ptr(),
        rstd.data_ptr(),
        space.data_ptr(),
        threads(),
    )
    for rolling in (rolling_mean, rolling_var):
        torch.autograd.graph.increment_version(rolling)
    return mean, rstd

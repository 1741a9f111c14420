"""A convolutional layer over packed tensors (packed.py): y = f(norm(x * weight)).

    z = x * weight
    y = f(scale * (z - mean) * rstd + bias)       normalised, mean and rstd of z or given
    y = f(z + bias)                               not normalised: mean 0, rstd 1, scale 1

Forward: the convolution, one pass for the moments, one for y.  Backward: one pass for the sums, one
for the gradient by z, then those by x and the weight.  Depthwise convolutions do the moments, and
all of backward but the sums, plane by plane, while a plane is in cache.  z is kept, and y by those
of its readers that want it in their backward pass; f' is computed again, and so is y where it is
part of a concatenation (packed_recipe.py).
"""

import functools

import torch
import torch.nn.functional as F

from . import packed, packed_memory
from .formulas import NATIVE_ACTIVATIONS
from .grad import first_order
from .native import activation_codes, library, native_conv_shape, threads
from .packed import Packed
from .packed_recipe import KEPT, NormAct, Recipe, read
from .packed_sum import images
from .precision import precision
from .shapes import conv_shape
from .shared_norm import means_of_all, of_batch, subtract

MOST_LAYERS = 4096  # of all sizes, that are remembered


def fits(shape, activation, image=False):
    """Whether there are packed kernels for a layer of this ConvShape; image: it reads an ordinary
    tensor, which needs no gradient."""
    if activation not in NATIVE_ACTIVATIONS:
        return False
    conv, native = library().packed.ConvTraining, native_conv_shape(shape)
    return conv.fits(native, False) or (image and conv.fits(native, True))


def conv_bias_act(x, weight, bias, activation, stride, padding, dilation=1, groups=1, place=None):
    """Packed or planar x -> Packed f(x * weight + bias), written to `place` (place.py)."""
    one, zero = torch.ones_like(bias), torch.zeros_like(bias)
    geometry = stride, padding, dilation, groups
    return _block(x, weight, one, bias, (zero, one), False, activation, geometry, place)


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
    dilation=1,
    groups=1,
    momentum=0.01,
    eps=1e-5,
    place=None,
):
    """Packed or planar x -> Packed f(batch norm of x * weight); rolling: mean and variance, which
    move in training and are used otherwise. place: where to write it (place.py)."""
    if training:
        fixed = rolling, momentum, eps
    else:
        fixed = rolling[0].clone(), torch.rsqrt(rolling[1] + eps)
    geometry = stride, padding, dilation, groups
    return _block(x, weight, scale, bias, fixed, training, activation, geometry, place)


def _block(x, weight, scale, bias, statistics, from_batch, activation, geometry, place):
    layer = _layer(x, weight, bias, activation, geometry)
    planar = layer.planar
    if not planar and not isinstance(x, Packed):
        x = packed.pack(x)
    data, recipe = (x, Recipe(KEPT, (x,))) if planar else (x.data, x.kept())
    given = recipe, statistics, from_batch, layer, place
    y, *inputs = _Block.apply(data, weight, scale, bias, *given)
    inputs += scale.detach(), bias.detach()
    again = Recipe(layer.again, inputs) if y.requires_grad else None
    return Packed(y, layer.size[1], again, place)


class _Layer:
    """What is the same in every step, found once: Python between two kernels is slow, for they
    leave nothing of it in the caches. size: of the output."""

    def __init__(self, shape, activation, planar, fast, threads):
        self.shape, self.planar, self.threads = shape, planar, threads
        self.size = shape.n, shape.k, shape.p, shape.q
        self.y_data, self.x_data = (packed_memory.shape_of(*s) for s in (self.size, shape[:4]))
        self.conv = library().packed.ConvTraining(native_conv_shape(shape), planar, fast, threads)
        norm = library().packed.norm_workspace(self.size)
        self.workspace, self.wants_dz = max(self.conv.workspace, norm), self.conv.wants_dz
        self.activation, self.again = activation_codes()[activation], NormAct(activation)


_layers = {}


def _layer(x, weight, bias, activation, geometry):
    """The _Layer for these tensors, checked when it is made."""
    tensors = [(t.shape, t.dtype, t.device) for t in (x, weight, bias)]
    planar = not isinstance(x, Packed) and not x.requires_grad
    machine = planar, precision.current == "fast", threads(), packed_memory.lanes()
    key = *tensors, activation, geometry, machine
    if key not in _layers:
        shape = conv_shape(x, weight, bias, *geometry, "conv_norm_act")
        planar = planar and library().packed.ConvTraining.fits(native_conv_shape(shape), True)
        if len(_layers) >= MOST_LAYERS:
            _layers.clear()
        _layers[key] = _Layer(shape, activation, planar, *machine[1:3])
    return _layers[key]


class _Block(torch.autograd.Function):
    """Gives y, and beside it z, mean and rstd, from which y can be computed again."""

    @staticmethod
    def forward(ctx, x, weight, scale, bias, recipe, statistics, from_batch, layer, place):
        x, image = _images(x)
        weight, size = weight.contiguous(), layer.size
        z = packed_memory.empty_data(layer.y_data)
        empty = packed_memory.empty_data
        y = place.data(layer.y_data, empty) if place else empty(layer.y_data)
        space = packed_memory.workspace(layer.workspace)
        given = x.data_ptr(), image, weight.data_ptr(), z.data_ptr()
        if from_batch:
            take = functools.partial(_with_moments, layer, given, space)
            mean, rstd, total = of_batch(take, size[0] * size[2] * size[3], *statistics)
        else:
            layer.conv.forward(*given, space.data_ptr())
            (mean, rstd), total = statistics, None
        layer.again.write((z, mean, rstd, scale, bias), y)
        ctx.save_for_backward(weight, z, mean, rstd, scale, bias, *recipe.tensors)
        ctx.layer, ctx.how, ctx.total = layer, recipe.how, total
        ctx.from_batch = from_batch and total is None
        ctx.mark_non_differentiable(z, mean, rstd)
        ctx.set_materialize_grads(False)
        return y, z, mean, rstd

    @staticmethod
    @first_order("conv_norm_act")
    def backward(ctx, grad_y, *_):
        weight, z, mean, rstd, scale, bias, *kept = ctx.saved_tensors
        layer, wanted = ctx.layer, ctx.needs_input_grad
        x, image = _images(read(ctx.how, kept)) if wanted[1] else (z, 0)
        grad_y, grad_image = images(grad_y)
        grad_scale, grad_bias = torch.empty_like(scale), torch.empty_like(bias)
        grad_weight = torch.empty_like(weight) if wanted[1] else None
        grad_x = packed_memory.empty_data(layer.x_data) if wanted[0] else None
        shared = ctx.total is not None
        grad_z = packed_memory.empty_data(layer.y_data) if shared or layer.wants_dz else None
        space = packed_memory.workspace(layer.workspace)
        about = _addresses(mean, rstd, scale, bias), layer.activation, ctx.from_batch
        norm = (
            grad_y.data_ptr(),
            grad_image,
            z.data_ptr(),
            *about,
            *_addresses(grad_z, grad_scale, grad_bias),
        )
        given = x.data_ptr(), image, weight.data_ptr(), *_addresses(grad_weight, grad_x, space)
        if not shared:
            layer.conv.backward(*norm, *given, layer.threads)
        else:
            library().packed.norm_act_backward(layer.size, *norm, space.data_ptr(), layer.threads)
            found = means_of_all(scale, mean, rstd, grad_scale, grad_bias, ctx.total)
            _subtract_inside(grad_z, z, *found)
            layer.conv.gradients(grad_z.data_ptr(), *given)
        return grad_x, grad_weight, grad_scale, grad_bias, *[None] * 5


def _images(x):
    """x and the floats from one image to the next (0: an ordinary tensor)."""
    return images(x) if x.dim() == 5 else (x.contiguous(), 0)


def _subtract_inside(grad_z, z, a, b):
    """grad_z -= a + b * z, but for the border, which is read as zeros."""
    inside = slice(packed_memory.BORDER, -packed_memory.BORDER)
    blocks, lanes = z.shape[1], z.shape[4]
    shape = blocks, 1, 1, lanes
    a, b = (F.pad(t, (0, blocks * lanes - len(t))).view(shape) for t in (a, b))
    subtract(grad_z[:, :, inside, inside], z[:, :, inside, inside], a, b)


def _addresses(*tensors):
    """Where they lie, 0 for None."""
    return [0 if t is None else t.data_ptr() for t in tensors]


def _with_moments(layer, given, space, rolling_mean, rolling_var, momentum, eps):
    """Convolves; mean and 1 / sqrt(var + eps) of each channel of z. Moves the rolling pair in
    place."""
    mean, rstd = torch.empty_like(rolling_mean), torch.empty_like(rolling_var)
    layer.conv.forward_moments(
        *given,
        momentum,
        eps,
        _addresses(rolling_mean, rolling_var),
        mean.data_ptr(),
        rstd.data_ptr(),
        space.data_ptr(),
    )
    for rolling in (rolling_mean, rolling_var):
        torch.autograd.graph.increment_version(rolling)
    return mean, rstd

"""Convolution (cross-correlation, as Darknet and PyTorch mean it) and its three passes.

    y[n,k,p,q] = bias[k] + sum over c,r,s of weight[k,c,r,s] * x[n,c,i,j]
    i = p * stride + r * dilation - padding, and j from q and s alike; x is 0 outside the image

    grad_x[n,c,i,j]      = sum over k,r,s of weight[k,c,r,s] * grad_y[n,k,p,q], p and q as above
    grad_weight[k,c,r,s] = sum over n,p,q of grad_y[n,k,p,q] * x[n,c,i,j]
    grad_bias[k]         = sum over n,p,q of grad_y[n,k,p,q]

Twin: torch.nn.functional.conv2d.
"""

import torch
import torch.nn.functional as F

from . import winograd
from .activation import activate, channel_sums, check_activation
from .backend import uses_torch
from .formulas import NATIVE_ACTIVATIONS
from .grad import first_order, wants_grad
from .native import activation_codes, blas_threads, conv_plan, library, native_conv_shape
from .operator import operator, result
from .precision import narrowed, precision, sum_type
from .shapes import conv_shape, pair

GEOMETRY = "int[] stride, int[] padding, int[] dilation, int groups"


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """x (n, c, h, w), weight (k, c/groups, r, s), bias (k) or None -> y (n, k, p, q), in the type
    of x: 16 bits where the precision says so, whatever the type of weight and bias."""
    x = narrowed(x)
    conv_shape(x, weight, bias, stride, padding, dilation, groups)
    geometry = pair(stride), pair(padding), pair(dilation), groups
    if uses_torch():
        return F.conv2d(x, weight.to(x.dtype), _like(bias, x), *geometry)
    if wants_grad(x, weight, bias):
        return _Conv2d.apply(x, weight, bias, geometry)
    return _forward(x, weight, bias, *geometry, "linear")


def conv2d_act(x, weight, bias, activation, stride=1, padding=0, dilation=1, groups=1):
    """activate(conv2d(x, weight, bias)); one pass over the output where no gradient is wanted."""
    check_activation(activation, "conv2d_act")
    fused = not (uses_torch() or wants_grad(x, weight, bias)) and activation in NATIVE_ACTIVATIONS
    if not fused:
        return activate(conv2d(x, weight, bias, stride, padding, dilation, groups), activation)
    x = narrowed(x)
    conv_shape(x, weight, bias, stride, padding, dilation, groups, "conv2d_act")
    return _forward(
        x, weight, bias, pair(stride), pair(padding), pair(dilation), groups, activation
    )


def _like(bias, x):
    return None if bias is None else bias.to(x.dtype)


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, geometry):
        ctx.geometry = geometry
        ctx.precision = precision.current
        ctx.save_for_backward(x, weight)
        return _forward(x, weight, bias, *geometry, "linear")

    @staticmethod
    @first_order("conv2d")
    def backward(ctx, grad_y):
        grad_y = grad_y if grad_y.is_cuda else grad_y.contiguous()  # CUDA: as it lies, or NHWC
        grads = gradients(ctx, grad_y)
        return *grads, channel_sums(grad_y) if ctx.needs_input_grad[2] else None, None


def gradients(ctx, grad_y):
    """grad_x and grad_weight, each if wanted, of what a Function's forward has kept."""
    x, weight = ctx.saved_tensors
    grad_x = grad_weight = None
    with precision(ctx.precision):
        if ctx.needs_input_grad[0]:
            grad_x = _grad_x(grad_y, weight, x.shape[2:], *ctx.geometry)
        if ctx.needs_input_grad[1]:
            grad_weight = _grad_weight(grad_y, x, weight.shape[2:], *ctx.geometry)
    return grad_x, grad_weight


def _fake_forward(x, weight, bias, stride, padding, dilation, groups, activation):
    s = conv_shape(x, weight, bias, stride, padding, dilation, groups)
    return result(x, (s.n, s.k, s.p, s.q))


@operator(
    f"conv2d_forward(Tensor x, Tensor weight, Tensor? bias, {GEOMETRY}, str activation) -> Tensor",
    _fake_forward,
)
def _forward(x, weight, bias, stride, padding, dilation, groups, activation):
    shape = conv_shape(x, weight, bias, stride, padding, dilation, groups)
    y = x.new_empty((shape.n, shape.k, shape.p, shape.q))
    if y.numel() == 0:
        return y
    x, weight, bias = x.contiguous(), weight.contiguous(), _contiguous(bias)
    if winograd.takes(shape, x):
        return winograd.forward(shape, x, weight, bias, activation, y)
    plan, threads, workspace = _prepare(shape, "forward", x)
    library().conv2d_forward(
        native_conv_shape(shape),
        plan,
        x.element_size(),
        x.data_ptr(),
        weight.data_ptr(),
        0 if bias is None else bias.data_ptr(),
        activation_codes()[activation],
        y.data_ptr(),
        workspace.data_ptr(),
        threads,
    )
    return y


def _fake_grad_x(grad_y, weight, size, stride, padding, dilation, groups):
    return result(grad_y, (grad_y.shape[0], weight.shape[1] * groups, *size))


@operator(
    f"conv2d_grad_x(Tensor grad_y, Tensor weight, SymInt[] size, {GEOMETRY}) -> Tensor",
    _fake_grad_x,
)
def _grad_x(grad_y, weight, size, stride, padding, dilation, groups):
    grad_y, weight = grad_y.contiguous(), weight.contiguous()
    grad_x = _fake_grad_x(grad_y, weight, size, stride, padding, dilation, groups)
    shape = conv_shape(grad_x, weight, None, stride, padding, dilation, groups, "conv2d_grad_x")
    if grad_x.numel() == 0:
        return grad_x
    if winograd.takes(shape, grad_y):
        return winograd.grad_x(shape, grad_y, weight, grad_x)
    plan, threads, workspace = _prepare(shape, "grad_x", grad_y)
    library().conv2d_grad_x(
        native_conv_shape(shape),
        plan,
        grad_y.element_size(),
        grad_y.data_ptr(),
        weight.data_ptr(),
        grad_x.data_ptr(),
        workspace.data_ptr(),
        threads,
    )
    return grad_x


def _fake_grad_weight(grad_y, x, size, stride, padding, dilation, groups):
    shape = grad_y.shape[1], x.shape[1] // groups, *size
    return x.new_empty(shape, dtype=sum_type(x.dtype))


@operator(
    f"conv2d_grad_weight(Tensor grad_y, Tensor x, SymInt[] size, {GEOMETRY}) -> Tensor",
    _fake_grad_weight,
)
def _grad_weight(grad_y, x, size, stride, padding, dilation, groups):
    grad_y, x = grad_y.contiguous(), x.contiguous()
    grad_weight = _fake_grad_weight(grad_y, x, size, stride, padding, dilation, groups)
    shape = conv_shape(
        x, grad_weight, None, stride, padding, dilation, groups, "conv2d_grad_weight"
    )
    if x.numel() == 0:
        return grad_weight.zero_()
    plan, threads, workspace = _prepare(shape, "grad_weight", x)
    library().conv2d_grad_weight(
        native_conv_shape(shape),
        plan,
        x.element_size(),
        grad_y.data_ptr(),
        x.data_ptr(),
        grad_weight.data_ptr(),
        workspace.data_ptr(),
        threads,
    )
    return grad_weight


def _contiguous(tensor):
    return None if tensor is None else tensor.contiguous()


def _prepare(shape, name, like):
    """Plan, threads and scratch memory of one pass."""
    threads = blas_threads()
    plan = conv_plan(shape, name, threads)
    return plan, threads, like.new_empty(plan.workspace)

"""Normalisation, activation, pools, enlargement, depthwise and update against float64."""

import ctypes

import pytest
import torch
import torch.nn.functional as F

from yolo.ops import batch_norm_act
from yolo.ops.backend import backend
from yolo.ops.cuda import ACTIVATION_NUMBERS
from yolo.ops.cuda.structs import STRUCTS
from yolo.ops.formulas import FORMULAS
from yolo.ops.pool import _twin as maxpool_twin
from yolo.ops.shapes import conv_shape, pool_shape

LIMITS = {torch.float64: 1e-12, torch.float32: 5e-6, torch.float16: 1e-3, torch.bfloat16: 6e-3}


def assert_near(got, wanted, limit):
    assert got.shape == wanted.shape
    error = (got.double() - wanted.double()).norm()
    assert error <= limit * wanted.double().norm() + 1e-30


def normal(machine, dtype, *shape):
    return torch.randn(*shape).to(machine.device, dtype)


def test_structs_have_the_sizes_of_c(machine):
    size = machine.library.yolo_cuda_struct_bytes if machine.emulated else None
    size = size or machine.kernels.library.yolo_cuda_struct_bytes
    size.restype = ctypes.c_int64
    wanted = [size(i) for i in range(len(STRUCTS) + 1)]
    assert [ctypes.sizeof(s) for s in STRUCTS] + [-1] == wanted


@pytest.mark.parametrize("activation", ACTIVATION_NUMBERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_activations(machine, kernels, activation, dtype):
    """Each function and its gradient factor on a range that reaches every branch."""
    x = torch.linspace(-25, 25, 4 * 8 * 5 * 7).view(4, 8, 5, 7).to(machine.device, dtype)
    x[0, 0, 0, :7] = torch.tensor([0.0, 1.0, -1.0, 6.0, -2.0, 4.0, -4.0])
    grad_y = torch.randn_like(x)
    forward, factor = FORMULAS[activation]
    y = kernels.norm_act_forward(x, activation=activation)[0]
    limit = 1e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(y, forward(x), rtol=20 * limit, atol=limit)
    grad_x, _, _ = kernels.norm_act_backward(
        grad_y, x, None, None, None, None, False, activation, sums=False
    )
    wanted = grad_y * factor(x, forward(x))
    torch.testing.assert_close(grad_x, wanted, rtol=40 * limit, atol=4 * limit)


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("shape", [(3, 24, 7, 9), (1, 3, 19, 16), (2, 40, 13, 11), (1, 5, 1, 1)])
def test_batch_norm(machine, kernels, shape, dtype):
    """Training: y, rolling statistics and all gradients; then evaluation with those statistics."""
    number = torch.float64 if dtype == torch.float64 else torch.float32
    channels = shape[1]
    x = (5 * torch.randn(shape) + 300 * torch.rand(1, channels, 1, 1)).to(machine.device, dtype)
    grad_y = normal(machine, dtype, *shape)
    scale, bias = (normal(machine, number, channels) for _ in range(2))
    rolling = [normal(machine, number, channels), torch.rand(channels).to(x.device, number)]
    exact = [t.double().clone().requires_grad_() for t in (x, scale, bias)]
    exact_rolling = [t.double().clone() for t in rolling]
    with backend("torch"):
        wanted = batch_norm_act(*exact, *exact_rolling, True, "leaky")
        wanted.backward(grad_y.double())
    y, mean, rstd = kernels.norm_act_forward(x, scale, bias, rolling, True, "leaky")
    grads = kernels.norm_act_backward(grad_y, x, scale, bias, mean, rstd, True, "leaky")
    limit = LIMITS[dtype] * (10 if dtype == torch.float32 else 1)  # rounding of mean 300, std 5
    if x[0, 0].numel() * shape[0] > 1:
        assert_near(y, wanted, limit)
        assert_near(grads[0], exact[0].grad, 4 * limit)
        assert_near(grads[1], exact[1].grad, 4 * limit)
    assert_near(grads[2], exact[2].grad, 4 * limit)
    for got, want in zip(rolling, exact_rolling, strict=True):
        assert_near(got, want, 1e-5 if number == torch.float32 else 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_batch_norm_with_residual_in_any_order(machine, any_order, dtype):
    x, residual = normal(machine, dtype, 2, 48, 13, 12), normal(machine, dtype, 2, 48, 13, 12)
    y, mean, rstd = any_order.norm_act_forward(
        x, training=True, activation="mish", residual=residual
    )
    wanted = F.mish(F.batch_norm(x.double(), None, None, training=True)) + residual.double()
    assert_near(y, wanted, LIMITS[dtype])
    again = any_order.norm_act_forward(x, training=True, activation="mish", residual=residual)
    assert all(torch.equal(a, b) for a, b in zip((y, mean, rstd), again, strict=True))


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("shape", [(3, 24, 7, 9), (1, 35, 19, 16), (2, 5, 13, 11)])
def test_prelu(machine, any_order, shape, dtype):
    """Values and gradients, in slices of wider maps; sums over several ranges, equal in every
    run."""
    wide = normal(machine, dtype, shape[0], *shape[2:], shape[1] + 8).permute(0, 3, 1, 2)
    x, grad_y = wide[:, 8:], normal(machine, dtype, *shape)
    x[0, :, 0, :3] = torch.tensor([0.0, -0.0, 3.0])
    slope = normal(machine, torch.float64 if dtype == torch.float64 else torch.float32, shape[1])
    exact = x.double().requires_grad_(), slope.double().requires_grad_()
    wanted = F.prelu(*exact)
    wanted.backward(grad_y.double())
    out = torch.full_like(wide, 7.0)
    any_order.prelu_forward(x, slope, out=out[:, 8:])
    assert_near(out[:, 8:], wanted, LIMITS[dtype])
    assert (out[:, :8] == 7).all()
    grads = any_order.prelu_backward(grad_y, x, slope)
    assert_near(grads[0], exact[0].grad, LIMITS[dtype])
    assert_near(grads[1], exact[1].grad, 1e-12 if dtype == torch.float64 else 5e-6)
    again = any_order.prelu_backward(grad_y, x, slope)
    assert all(torch.equal(a, b) for a, b in zip(grads, again, strict=True))


POOLS = [(2, 2, 1), (2, 2, 0), (2, 1, 1), (3, 2, None), (5, 1, 4), (13, 1, 12), ((3, 2), (1, 2), 1)]


@pytest.mark.parametrize(("size", "stride", "padding"), POOLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maxpool(machine, kernels, dtype, size, stride, padding):
    x = torch.randint(-9, 9, (2, 5, 9, 8)).to(machine.device, dtype)  # many equal values
    padding = padding if padding is not None else 2
    a = pool_shape(x.float(), size, stride, padding)
    exact = x.double().requires_grad_()
    wanted = maxpool_twin(exact, a)
    grad_y = torch.randint(-9, 9, wanted.shape).to(machine.device, dtype)
    wanted.backward(grad_y.double())
    y, index = kernels.maxpool_forward(a, x)
    assert torch.equal(y.double(), wanted)
    assert torch.equal(kernels.maxpool_grad_x(a, grad_y, index).double(), exact.grad)


def test_maxpool_passes_nan_on_and_writes_slices(machine, kernels):
    x = torch.randn(1, 3, 4, 4, device=machine.device)
    x[0, 1, 2, 2] = float("nan")
    wide = torch.full((1, 2, 2, 8), 7.0, device=x.device)
    a = pool_shape(x, 2, 2, 0)
    kernels.maxpool_forward(a, x, out=wide[..., 2:5].permute(0, 3, 1, 2))
    wanted = F.max_pool2d(x, 2).permute(0, 2, 3, 1)
    torch.testing.assert_close(wide[..., 2:5], wanted, rtol=0, atol=0, equal_nan=True)
    assert (wide[..., :2] == 7).all() and (wide[..., 5:] == 7).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_upsample(machine, kernels, dtype):
    x, grad_y = normal(machine, dtype, 2, 5, 3, 4), normal(machine, dtype, 2, 5, 6, 8)
    wanted = 0.5 * F.interpolate(x.double(), scale_factor=2, mode="nearest")
    assert_near(kernels.upsample_forward(x, 2, 0.5), wanted, LIMITS[dtype])
    wanted = 0.5 * grad_y.double().view(2, 5, 3, 2, 4, 2).sum((3, 5))
    assert_near(kernels.upsample_grad_x(grad_y, 2, 0.5), wanted, LIMITS[dtype])


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("case", [(2, 24, 9, 7, 3, 1, 1, 1), (1, 5, 11, 12, 5, 2, 2, 1),
                                  (1, 40, 8, 8, 3, 2, 0, 2)])  # fmt: skip
def test_depthwise(machine, kernels, case, dtype):
    n, c, h, w, size, stride, padding, dilation = case
    x, weight = normal(machine, dtype, n, c, h, w), normal(machine, dtype, c, 1, size, size)
    bias = normal(machine, torch.float32, c)
    a = conv_shape(x.float(), weight.float(), None, stride, padding, dilation, c)
    exact = [t.double().requires_grad_() for t in (x, weight)]
    wanted = F.conv2d(*exact, bias.double(), stride, padding, dilation, c)
    grad_y = normal(machine, dtype, *wanted.shape)
    wanted.backward(grad_y.double())
    y = kernels.depthwise_forward(a, x, weight, bias, activation="leaky")
    assert_near(y, torch.where(wanted > 0, wanted, 0.1 * wanted), LIMITS[dtype])
    assert_near(kernels.depthwise_grad_x(a, grad_y, weight), exact[0].grad, LIMITS[dtype])
    limit = 1e-12 if dtype == torch.float64 else 5e-6
    assert_near(kernels.depthwise_grad_weight(a, x, grad_y), exact[1].grad, limit)


def test_update(machine, any_order):
    """Two steps on two tensors, one of which keeps a 16-bit copy."""
    shapes, rate, momentum = [(1000,), (7, 3)], 0.01, 0.9
    weights, grads, updates = ([normal(machine, torch.float32, *s) for s in shapes]
                               for _ in range(3))  # fmt: skip
    half = torch.zeros(1000, dtype=torch.bfloat16, device=machine.device)
    copies, decays, rates = [half, None], [0.05, 0.0], [1.0, 2.0]
    wanted = [(w.double(), u.double()) for w, u in zip(weights, updates, strict=True)]
    limits, clips = [0.0, 0.5], [0.0, 0.8]
    columns = weights, grads, updates, copies, decays, rates, limits, clips
    entries = list(zip(*columns, strict=True))
    table = any_order.parameter_table(entries, machine.device)
    for _ in range(2):
        for i, (w, u) in enumerate(wanted):
            u = u - grads[i].double()
            u = (u.clamp(-limits[i], limits[i]) if limits[i] else u) - decays[i] * w
            w = w + rate * rates[i] * u
            wanted[i] = (w.clamp(-clips[i], clips[i]) if clips[i] else w), momentum * u
        any_order.update(table, 2, rate, momentum)
        assert not any(g.any() for g in grads)
        for g in grads:
            g.normal_()
    for i, (w, u) in enumerate(wanted):
        assert_near(weights[i], w, 1e-6)
        assert_near(updates[i], u, 1e-6)
    assert torch.equal(half, weights[0].bfloat16())

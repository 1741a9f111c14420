"""Each convolution kernel and pass against F.conv2d in float64, on small odd shapes."""

import pytest
import torch
import torch.nn.functional as F

from yolo.ops.shapes import conv_shape

# n, c, h, w, k, size, stride, padding, dilation, groups
SHAPES = [
    (1, 3, 9, 7, 5, 3, 1, 1, 1, 1),
    (3, 8, 5, 19, 24, 1, 1, 0, 1, 1),
    (1, 24, 13, 11, 40, 3, 2, 1, 1, 1),
    (3, 40, 6, 5, 18, 3, 1, 0, 1, 1),
    (1, 8, 11, 9, 16, 3, 1, 2, 2, 1),
    (3, 24, 7, 8, 24, (3, 2), (1, 2), (1, 0), 1, 3),
    (1, 6, 9, 9, 12, 3, 3, 1, 2, 2),
    (1, 16, 8, 8, 16, 2, 4, 0, 1, 1),  # some pixels of x reach no output
    (1, 8, 8, 9, 8, 3, 1, 1, 1, 8),
]
LARGER = [(1, 130, 5, 6, 255, 1, 1, 0, 1, 1), (1, 72, 13, 12, 136, 3, 2, 1, 1, 1)]
# relative L2 of design limits, by type
LIMITS = {torch.float32: 1e-3, torch.bfloat16: 6e-3, torch.float16: 1e-3}


def case(shape, dtype, device, seed=0):
    """Shape, x, weight, bias, grad_y and what F.conv2d in float64 makes of them."""
    n, c, h, w, k, size, stride, padding, dilation, groups = shape
    r, s = size if isinstance(size, tuple) else (size, size)
    generator = torch.Generator().manual_seed(seed)

    def normal(*sizes):
        return torch.randn(*sizes, generator=generator).to(device=device, dtype=dtype)

    x, weight, bias = normal(n, c, h, w), normal(k, c // groups, r, s), normal(k)
    a = conv_shape(x.float(), weight.float(), None, stride, padding, dilation, groups)
    grad_y = normal(n, k, a.p, a.q)
    leaves = [t.double().requires_grad_() for t in (x, weight, bias)]
    y = F.conv2d(*leaves, stride, padding, dilation, groups)
    y.backward(grad_y.double())
    return a, x, weight, bias, grad_y, y.detach(), leaves[0].grad, leaves[1].grad


def assert_near(got, wanted, limit):
    """Relative L2 of the whole, and no single element far off; NaN fails both."""
    assert got.shape == wanted.shape
    error = (got.double() - wanted).norm()
    assert error <= limit * wanted.norm() + 1e-30, f"{error / wanted.norm():.2e} > {limit:.0e}"
    spread = wanted.abs().max()
    assert (got.double() - wanted).abs().max() <= 8 * limit * spread + 1e-30


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", SHAPES)
def test_im2col(machine, kernels, shape, layout, dtype):
    a, x, weight, bias, grad_y, y, grad_x, grad_weight = case(shape, dtype, machine.device)
    x, grad_y = x.to(memory_format=layout), grad_y.to(memory_format=layout)
    limit = 5e-6 if dtype == torch.float32 else 1e-14
    assert_near(kernels.im2col_forward(a, x, weight, bias), y, limit)
    assert_near(kernels.im2col_grad_x(a, grad_y, weight), grad_x, limit)
    assert_near(kernels.im2col_grad_weight(a, x, grad_y), grad_weight, limit)


@pytest.mark.parametrize("shape", SHAPES[:6:3])
def test_im2col_in_any_order(machine, any_order, shape):
    a, x, weight, bias, grad_y, y, grad_x, grad_weight = case(shape, torch.float32, machine.device)
    assert_near(any_order.im2col_forward(a, x, weight, bias), y, 5e-6)
    assert_near(any_order.im2col_grad_x(a, grad_y, weight), grad_x, 5e-6)
    assert_near(any_order.im2col_grad_weight(a, x, grad_y), grad_weight, 5e-6)


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("shape", [*SHAPES, LARGER[0]])
def test_implicit(machine, kernels, shape, dtype):
    a, x, weight, bias, grad_y, y, grad_x, grad_weight = case(shape, dtype, machine.device)
    assert_near(kernels.implicit_forward(a, x, weight, bias), y, LIMITS[dtype])
    assert_near(kernels.implicit_grad_x(a, grad_y, weight), grad_x, LIMITS[dtype])
    assert_near(kernels.implicit_grad_weight(a, x, grad_y), grad_weight, LIMITS[dtype])


@pytest.mark.parametrize("dtype", LIMITS)
def test_implicit_in_any_order(machine, any_order, dtype):
    a, x, weight, bias, grad_y, y, grad_x, grad_weight = case(LARGER[1], dtype, machine.device)
    assert_near(any_order.implicit_forward(a, x, weight, bias), y, LIMITS[dtype])
    assert_near(any_order.implicit_grad_x(a, grad_y, weight), grad_x, LIMITS[dtype])
    assert_near(any_order.implicit_grad_weight(a, x, grad_y), grad_weight, LIMITS[dtype])


STEMS = [
    (3, 3, 9, 7, 32, 3, 1, 1, 1, 1),
    (1, 3, 19, 16, 40, 3, 2, 1, 1, 1),
    (2, 1, 12, 13, 66, 5, 1, 2, 1, 1),
    (1, 3, 11, 9, 5, (2, 3), (2, 1), (0, 2), 2, 1),
    (2, 32, 5, 6, 7, 1, 1, 0, 1, 1),
]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", STEMS)
def test_stem(machine, any_order, shape, dtype):
    """Planar images and channels last, with the epilogue and its statistics."""
    a, x, weight, bias, grad_y, y, _, grad_weight = case(shape, dtype, machine.device)
    tiles = any_order.implicit_tiles(a, x.device)
    rolling = [torch.zeros(a.k, device=x.device) for _ in range(2)]
    for image in (x, x.to(memory_format=torch.channels_last)):
        got = any_order.stem_forward(a, image, weight, bias, tiles=tiles)
        assert_near(got, y, LIMITS[dtype])
        mean, _ = any_order.statistics(got, rolling, 1.0, 0.0, tiles)
        wanted = y.mean((0, 2, 3)) - bias.double()
        assert (mean - wanted).abs().max() <= 1e-5 * y.std()
        assert_near(any_order.stem_grad_weight(a, image, grad_y), grad_weight, 1e-5)
    got = any_order.stem_forward(a, x, weight, bias, activation="leaky")
    assert_near(got, torch.where(y > 0, y, 0.1 * y), LIMITS[dtype])


@pytest.mark.parametrize("splits", [1, 2, 3, 5])
def test_split_sums_repeat_bit_for_bit(machine, any_order, splits):
    a, x, _, _, grad_y, _, _, grad_weight = case(SHAPES[2], torch.bfloat16, machine.device)
    first = any_order.implicit_grad_weight(a, x, grad_y, splits=splits)
    assert_near(first, grad_weight, 1e-5)  # sums are float: only the order differs
    assert torch.equal(first, any_order.implicit_grad_weight(a, x, grad_y, splits=splits))


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("shape, splits", [(LARGER[1], 2), (SHAPES[5], 4), (SHAPES[2], 99)])
def test_forward_sums_may_be_split(machine, any_order, shape, dtype, splits):
    a, x, weight, bias, _, y, _, _ = case(shape, dtype, machine.device)
    residual = torch.randn_like(y).to(dtype)
    first, again = (
        any_order.implicit_forward(a, x, weight, bias, None, residual, "leaky", splits=splits)
        for _ in range(2)
    )
    wanted = torch.where(y > 0, y, 0.1 * y) + residual.double()
    assert_near(first, wanted, LIMITS[dtype])
    assert torch.equal(first, again)


def test_how_many_splits(machine, kernels):
    def splits(n, c, size, k, taps):
        x, weight = torch.empty(n, c, size, size), torch.empty(k, c, taps, taps)
        a = conv_shape(x, weight, None, 1, taps // 2, 1, 1)
        return kernels.implicit_splits(a, torch.bfloat16)

    assert splits(1, 512, 13, 1024, 3) == 16  # 16 tiles for 264 places
    assert splits(16, 256, 52, 512, 3) == 1
    assert splits(1, 32, 13, 64, 1) == 1  # the sum is too short


def test_implicit_writes_and_reads_slices(machine, kernels):
    """x and y are channels 8..31 and 16..55 of wider maps; the rest of y stays as it was."""
    a, x, weight, bias, _, y, _, _ = case(SHAPES[2], torch.bfloat16, machine.device)
    wide_x = torch.full((a.n, a.h, a.w, 40), float("nan"), dtype=x.dtype, device=x.device)
    wide_x[..., 8:32] = x.permute(0, 2, 3, 1)
    wide_y = torch.full((a.n, a.p, a.q, 64), 7.0, dtype=x.dtype, device=x.device)
    out = wide_y[..., 16:56].permute(0, 3, 1, 2)
    kernels.implicit_forward(a, wide_x[..., 8:32].permute(0, 3, 1, 2), weight, bias, out=out)
    assert_near(out, y, LIMITS[torch.bfloat16])
    assert (wide_y[..., :16] == 7).all() and (wide_y[..., 56:] == 7).all()


@pytest.mark.parametrize("activation", ["leaky", "mish", "swish", "logistic", "relu", "hardtan"])
def test_implicit_epilogue(machine, kernels, activation):
    """y = activation(scale * conv + bias) + residual"""
    from yolo.ops.formulas import FORMULAS

    a, x, weight, bias, residual, y, _, _ = case(SHAPES[3], torch.float16, machine.device)
    scale = torch.rand(a.k, device=x.device) + 0.5
    per_filter = (1, -1, 1, 1)
    plain = y - bias.double().view(per_filter)
    wanted = FORMULAS[activation][0](
        plain * scale.double().view(per_filter) + bias.double().view(per_filter)
    )
    got = kernels.implicit_forward(a, x, weight, bias, scale, residual, activation)
    assert_near(got, wanted + residual.double(), 2e-3)


def test_empty_batch(machine, kernels):
    a, x, weight, bias, grad_y, *_ = case(
        (0, 8, 5, 5, 8, 3, 1, 1, 1, 1), torch.float32, machine.device
    )
    assert kernels.im2col_forward(a, x, weight, bias).shape == (0, 8, 5, 5)
    assert kernels.implicit_forward(a, x, weight, bias).shape == (0, 8, 5, 5)
    assert not kernels.im2col_grad_weight(a, x, grad_y).any()
    assert not kernels.implicit_grad_weight(a, x, grad_y).any()


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("shape", [SHAPES[5], LARGER[1], (3, 8, 19, 17, 40, 1, 1, 0, 1, 1)])
def test_statistics_of_the_epilogue(machine, any_order, shape, dtype):
    """Of the float sums, not of what is stored; x lies around 100."""
    a, x, weight, *_ = case(shape, dtype, machine.device)
    x, weight = (t.bfloat16().to(dtype) for t in (x + 100, weight))  # TF32 holds these too
    y = F.conv2d(x.double(), weight.double(), None, a.stride, a.padding, a.dilation, a.groups)
    tiles, rolling = any_order.implicit_tiles(a, x.device), [torch.zeros(a.k) for _ in range(2)]
    rolling = [t.to(x.device) for t in rolling]
    z = any_order.implicit_forward(a, x, weight, tiles=tiles)
    mean, rstd = any_order.statistics(z, rolling, 1.0, 0.0, tiles)
    var, exact = torch.var_mean(y, (0, 2, 3), correction=0)
    assert ((mean - exact).abs() <= 1e-5 * (var.sqrt() + exact.abs())).all()
    assert ((rstd * var.sqrt() - 1).abs() <= 1e-4).all()
    torch.testing.assert_close(rolling[0], mean)


def test_many_tiles_are_merged_in_two_steps(machine, kernels):
    x = 50 + torch.randn(700, 6, 5, dtype=torch.float64)  # tiles of 6 values of 5 channels
    parts = [torch.full((700, 5), 6.0), x.mean(1), x.var(1, correction=0) * 6]
    tiles = torch.stack(parts, 2).to(machine.device, torch.float32)
    rolling = [torch.zeros(5, device=machine.device) for _ in range(2)]
    like = torch.zeros(1, 5, 42, 100, device=machine.device)
    mean, rstd = kernels.statistics(like, rolling, 1.0, 0.0, tiles)
    torch.testing.assert_close(mean.double().cpu(), x.mean((0, 1)), rtol=1e-6, atol=0)
    wanted = x.var((0, 1), correction=0).rsqrt()
    torch.testing.assert_close(rstd.double().cpu(), wanted, rtol=1e-5, atol=0)

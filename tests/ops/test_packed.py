"""Packed CPU kernels against float64, each instruction set, odd sizes, poisoned outputs.

At the bf16 levels the inputs and weights are rounded first, so that the reference starts from what
the kernels start from.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from yolo import _C

packed = _C.packed
LEVELS = dict(packed.levels())
HALF_LEVELS = dict(packed.levels("bf16"))
LANES = LEVELS | HALF_LEVELS
BF16_LIMIT = 6e-3
WINOGRAD_LIMITS = {"winograd2": 1e-5, "winograd4": 3e-5, "phases": 1e-5}
FP32_ONLY = "winograd4", "phases"
THREADS = 2

ACTIVATIONS = {
    "linear": lambda x: x,
    "leaky": lambda x: torch.where(x > 0, x, 0.1 * x),
    "relu": F.relu,
    "relu6": F.relu6,
    "ramp": lambda x: torch.where(x > 0, 1.1 * x, 0.1 * x),
    "mish": F.mish,
    "swish": F.silu,
    "logistic": torch.sigmoid,
    "tanh": torch.tanh,
}


@pytest.fixture(params=LANES)
def level(request):
    return request.param


def stored(level, x):
    """x as the level keeps it."""
    return x.bfloat16().float() if level in HALF_LEVELS else x


def random(level, *shape):
    return stored(level, torch.randn(*shape))


def ceil_to(n, multiple):
    return -(-n // multiple) * multiple


class OneLayer:
    """A plan around one layer: packed input, poisoned packed output with a border, planar ends."""

    def __init__(self, level, *shapes, border=1):
        """shapes: (n, c, h, w) of each packed tensor, in order; the last one is the output."""
        self.lanes = LANES[level]
        self.shapes = shapes
        self.precision = "bf16" if level in HALF_LEVELS else "fp32"
        sizes = [(n, ceil_to(c, self.lanes) // self.lanes, h, w, border) for n, c, h, w in shapes]
        elements = [packed.buffer_elements(level, self.precision, *size) for size in sizes]
        offsets = np.cumsum([0, *elements])
        self.plan = packed.Plan(level, THREADS, int(offsets[-1]), self.precision)
        self.slices = []
        for size, offset in zip(sizes, offsets[:-1], strict=True):
            self.slices.append((self.plan.buffer(int(offset), *size), 0, size[1]))

    def pad(self, weight, *counts):
        """weight with zeros up to whole blocks of its first len(counts) axes."""
        shape = [ceil_to(c, self.lanes) for c in counts] + list(weight.shape[len(counts) :])
        full = torch.zeros(shape)
        full[tuple(slice(s) for s in weight.shape)] = weight
        return full.numpy()

    def fill(self, which, x):
        """A plan step that packs x into tensor `which`; only one planar input exists per run."""
        self.plan.input(self.slices[which], x.shape[1], 0)

    def run(self, x):
        shape = self.shapes[-1]
        self.plan.output(self.slices[-1], 1, list(range(shape[1])), [])
        for _ in range(2):  # a second run meets what the first one left behind
            y = torch.full(shape, math.nan)
            self.plan.run(0, self.plan.steps, [x.contiguous().data_ptr(), y.data_ptr()])
        return y


def check(level, y, expected, limit=5e-6):
    limit = BF16_LIMIT if level in HALF_LEVELS else limit
    error = (y.double() - expected).norm() / expected.norm().clamp_min(1e-30)
    assert error <= limit, f"relative L2 {error:.2e} over {limit:.0e}"
    scale = expected.abs().max().item()
    torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=max(20 * limit * scale, 1e-6))


def conv(level, how, shape, weight, stride=1, padding=0, dilation=1, act="linear", add=False):
    """conv + activation + residual by the packed kernels, and its float64 reference."""
    x = random(level, shape)
    if how != "depthwise":  # whose weights are always floats
        weight = stored(level, weight)
    k, depth = weight.shape[:2]
    bias = torch.randn(k)
    groups = shape[1] if how == "depthwise" else 1
    expected = F.conv2d(
        x.double(), weight.double(), bias.double(), stride, padding, dilation, groups
    )
    layer = OneLayer(level, shape, tuple(expected.shape), border=padding + dilation)
    layer.fill(0, x)
    residual = None
    if add:  # the input itself, so shapes agree
        residual = layer.slices[0]
        assert expected.shape == x.shape
    w = layer.pad(weight, k) if how == "depthwise" else layer.pad(weight, k, depth)
    geometry = (*weight.shape[2:], stride, stride, padding, padding, dilation, dilation)
    layer.plan.conv(
        how, layer.slices[0], layer.slices[1], residual, w, layer.pad(bias, k), geometry, act
    )
    expected = ACTIVATIONS[act](expected)
    return layer.run(x), expected + x.double() if add else expected


DIRECT = [
    # shape, k, kernel, stride, padding, dilation
    ((1, 16, 13, 13), 32, 1, 1, 0, 1),
    ((2, 5, 7, 19), 3, 1, 1, 0, 1),
    ((1, 40, 9, 29), 255, 1, 1, 0, 1),
    ((1, 24, 13, 13), 40, 3, 1, 1, 1),
    ((3, 33, 11, 17), 17, 3, 2, 1, 1),
    ((1, 8, 12, 15), 70, 3, 2, 0, 1),
    ((1, 8, 1, 1), 48, 1, 1, 0, 1),
    ((1, 9, 10, 31), 20, 5, 1, 2, 1),
    ((1, 9, 16, 31), 20, 7, 3, 3, 1),
    ((2, 9, 14, 16), 20, 3, 1, 2, 2),
    ((1, 4, 9, 8), 20, 2, 2, 0, 1),
    ((1, 300, 5, 6), 33, 3, 1, 1, 1),
    ((1, 2048, 12, 19), 40, 1, 1, 0, 1),  # more input than half of L2
    ((1, 33, 4, 65), 33, 3, 1, 1, 1),  # several of the largest tiles in a row
    ((2, 5, 3, 97), 40, 2, 3, 0, 1),
]


@pytest.mark.parametrize("act", ["leaky", "mish", "swish"])  # the latter may wait for the next tile
@pytest.mark.parametrize("shape, k, size, stride, padding, dilation", DIRECT)
def test_direct(level, shape, k, size, stride, padding, dilation, act):
    weight = torch.randn(k, shape[1], size, size) / (size * shape[1] ** 0.5)
    check(level, *conv(level, "direct", shape, weight, stride, padding, dilation, act))


@pytest.mark.parametrize("act", ["leaky", "mish"])
def test_direct_of_a_wide_map(level, act):
    """More than 8 MB, written past the caches, with a residual."""
    shape = (1, 64, 96, 384)
    weight = torch.randn(64, 64, 1, 1) / 8
    check(level, *conv(level, "direct", shape, weight, act=act, add=True))


def levels_and(*names):
    """(level, algorithm) of those that the level has: no tiles of 4x4 in bf16."""
    return [(a, b) for a in LANES for b in names if a in LEVELS or b not in FP32_ONLY]


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("level, how", levels_and("direct", "depthwise", *WINOGRAD_LIMITS))
def test_epilogue(level, how, act):
    depth = 1 if how == "depthwise" else 20
    weight = torch.randn(20, depth, 3, 3) / (depth * 2) ** 0.5
    stride = 2 if how == "phases" else 1
    for add in (False, True) if stride == 1 else (False,):
        check(
            level,
            *conv(level, how, (2, 20, 9, 15), weight, stride, padding=1, act=act, add=add),
            limit=3e-5,
        )


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_activations_of_values_far_from_zero(level, act):
    """Neither overflow nor a silent replacement of NaN."""
    values = torch.tensor([0, 0.5, 5, 20.5, 70, 90, 200, 1e4, 3e9, 1e20])
    if act == "mish":
        values = torch.cat((values, torch.tensor([3.3e38, math.inf])))
    x = stored(level, torch.cat((values, -values, torch.tensor([math.nan]))).view(1, 1, 1, -1))
    layer = OneLayer(level, x.shape, x.shape, border=0)
    layer.fill(0, x)
    one, none = layer.pad(torch.ones(1, 1, 1, 1), 1, 1), layer.pad(torch.zeros(1), 1)
    geometry = (1, 1, 1, 1, 0, 0, 1, 1)
    layer.plan.conv("direct", *layer.slices, None, one, none, geometry, act)
    expected = ACTIVATIONS[act](x.double()).float()
    near = 4e-3 if level in HALF_LEVELS else 1e-5
    torch.testing.assert_close(layer.run(x), expected, rtol=near, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("size, stride", [(3, 1), (3, 2), (5, 1), (7, 2)])
def test_depthwise(level, size, stride):
    weight = torch.randn(37, 1, size, size)
    check(level, *conv(level, "depthwise", (2, 37, 11, 18), weight, stride, size // 2))


@pytest.mark.parametrize("level, how", levels_and(*WINOGRAD_LIMITS))
@pytest.mark.parametrize(
    "shape, k",
    [
        ((1, 32, 4, 4), 32),
        ((1, 48, 13, 13), 80),
        ((2, 33, 11, 26), 70),
        ((1, 16, 61, 57), 16),
        ((1, 300, 5, 6), 48),
        ((3, 8, 1, 3), 8),
        ((8, 20, 13, 13), 40),  # images side by side
        ((6, 8, 5, 7), 24),
        ((8, 8, 9, 2), 8),
    ],
)
def test_winograd(level, how, shape, k):
    weight = torch.randn(k, shape[1], 3, 3) / (3 * shape[1] ** 0.5)
    stride = 2 if how == "phases" else 1
    result = conv(level, how, shape, weight, stride, padding=1, act="leaky")
    check(level, *result, limit=WINOGRAD_LIMITS[how])


@pytest.mark.parametrize(
    "shape, k, size, stride, padding",
    [
        ((1, 3, 32, 45), 32, 3, 1, 1),
        ((2, 3, 31, 46), 16, 3, 2, 1),
        ((1, 1, 28, 28), 40, 5, 1, 0),
        ((1, 3, 40, 33), 70, 7, 2, 3),
        ((1, 4, 21, 20), 24, 4, 4, 0),
    ],
)
def test_stem(level, shape, k, size, stride, padding):
    x, weight, bias = torch.randn(shape), torch.randn(k, shape[1], size, size), torch.randn(k)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), stride, padding)
    layer = OneLayer(level, tuple(expected.shape))
    geometry = (size, size, stride, stride, padding, padding, 1, 1)
    layer.plan.stem(
        *shape[1:], layer.slices[0], layer.pad(weight, k), layer.pad(bias, k), geometry, "mish"
    )
    check(level, layer.run(x), F.mish(expected))


@pytest.mark.parametrize(
    "shape, size, stride, padding",
    [
        ((2, 20, 12, 14), 2, 2, 1),
        ((1, 20, 13, 15), 2, 2, 1),
        ((1, 20, 13, 13), 2, 1, 1),
        ((1, 20, 13, 13), 5, 1, 4),
        ((1, 20, 19, 7), 13, 1, 12),
        ((1, 9, 12, 12), 3, 2, 2),
    ],
)
def test_max_pool(level, shape, size, stride, padding):
    n, c, h, w = shape
    out_h, out_w = (h + padding - size) // stride + 1, (w + padding - size) // stride + 1
    before = padding // 2
    x = stored(level, torch.randn(shape) - 3)  # a zero border must not win
    after = size + stride
    padded = F.pad(x.double(), (before, after, before, after), value=-math.inf)
    expected = F.max_pool2d(padded, size, stride)[:, :, :out_h, :out_w]
    layer = OneLayer(level, shape, (n, c, out_h, out_w))
    layer.fill(0, x)
    layer.plan.max_pool(*layer.slices, (size, size), (stride, stride), (before, before))
    torch.testing.assert_close(layer.run(x).double(), expected, rtol=0, atol=0)


def test_average_pool(level):
    x = random(level, 2, 21, 7, 9)
    layer = OneLayer(level, x.shape, (2, 21, 1, 1))
    layer.fill(0, x)
    layer.plan.average_pool(*layer.slices)
    check(level, layer.run(x), x.double().mean((2, 3), keepdim=True))


@pytest.mark.parametrize("multiply", [False, True])
def test_pointwise(level, multiply):
    x = random(level, 2, 21, 7, 9)
    layer = OneLayer(level, x.shape, x.shape)
    layer.fill(0, x)
    a = layer.slices[0]
    layer.plan.pointwise(a, a, layer.slices[1], multiply, False, "leaky")
    value = x.double() ** 2 if multiply else 2 * x.double()
    check(level, layer.run(x), ACTIVATIONS["leaky"](value))


def test_pointwise_broadcast(level):
    x = random(level, 2, 21, 7, 9)
    layer = OneLayer(level, x.shape, (2, 21, 1, 1), x.shape)
    layer.fill(0, x)
    source, mean, y = layer.slices
    layer.plan.average_pool(source, mean)
    layer.plan.pointwise(source, mean, y, True, True, "linear")
    check(level, layer.run(x), x.double() * x.double().mean((2, 3), keepdim=True))


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_copy_enlarges_and_chooses_channels(level, scale):
    x = random(level, 2, 21, 5, 6)
    layer = OneLayer(level, x.shape, (2, 21, 5 * scale, 6 * scale))
    layer.fill(0, x)
    expected = F.interpolate(x, scale_factor=scale) * 0.5
    layer.plan.copy(*layer.slices, [], scale, 0.5)
    torch.testing.assert_close(layer.run(x), expected, rtol=0, atol=0)

    layer = OneLayer(level, x.shape, (2, 9, 5 * scale, 6 * scale))
    layer.fill(0, x)
    order = [20, 3, -1, 4, 5, 0, 19, 18, 7]
    lanes = layer.slices[1][2] * layer.lanes
    layer.plan.copy(*layer.slices, order + [-1] * (lanes - len(order)), scale, 1.0)
    expected = F.interpolate(x, scale_factor=scale)[:, order]
    expected[:, 2] = 0
    torch.testing.assert_close(layer.run(x), expected, rtol=0, atol=0)


def test_output_logistic(level):
    x = random(level, 2, 7, 5, 6) * 4
    layer = OneLayer(level, x.shape)
    layer.fill(0, x)
    logistic = np.array([[1, 1, 0], [0, 1, 0], [1, 1.2, -0.1], [0, 2, -0.5]] + [[0, 1, 0]] * 3)
    y = torch.full(x.shape, math.nan)
    layer.plan.output(layer.slices[0], 1, list(range(7)), logistic.ravel().tolist())
    layer.plan.run(0, layer.plan.steps, [x.data_ptr(), y.data_ptr()])
    expected = x.double()
    expected[:, 0] = expected[:, 0].sigmoid()
    expected[:, 2] = expected[:, 2].sigmoid() * 1.2 - 0.1
    expected[:, 3] = expected[:, 3] * 2 - 0.5
    check(level, y, expected)


def test_slices_of_one_buffer_are_a_concatenation(level):
    lanes = LANES[level]
    x = random(level, 2, lanes, 6, 7)
    layer = OneLayer(level, x.shape, (2, 3 * lanes, 6, 7))
    layer.fill(0, x)
    whole = layer.slices[1][0]
    for i, act in enumerate(["leaky", "linear", "relu"]):
        weight = np.eye(lanes, dtype=np.float32).reshape(lanes, lanes, 1, 1)
        bias = np.zeros(lanes, np.float32)
        geometry = (1, 1, 1, 1, 0, 0, 1, 1)
        layer.plan.conv("direct", layer.slices[0], (whole, i, 1), None, weight, bias, geometry, act)
    expected = stored(level, torch.cat([ACTIVATIONS["leaky"](x), x, F.relu(x)], 1))
    torch.testing.assert_close(layer.run(x), expected, rtol=0, atol=0)


def test_level_is_chosen_by_name_and_environment(monkeypatch):
    for name, lanes in LEVELS.items():
        assert packed.level(name) == (name, lanes)
        monkeypatch.setenv("YOLO_ISA", name)
        assert packed.level() == (name, lanes)
    with pytest.raises(ValueError, match="no kernels for 'mmx'"):
        packed.level("mmx")


def test_bf16_level_is_named_after_what_it_builds_on(monkeypatch):
    for name, lanes in HALF_LEVELS.items():
        assert packed.level(name, "bf16") == (name, lanes)
        monkeypatch.setenv("YOLO_ISA", name.removesuffix("bf16").removesuffix("_"))
        assert packed.level("", "bf16") == (name, lanes)
    monkeypatch.setenv("YOLO_ISA", "avx2")
    with pytest.raises(ValueError, match="no bf16 kernels for 'avx2'"):
        packed.level("", "bf16")


def test_mistakes_are_named():
    level, lanes = packed.level()
    plan = packed.Plan(level, 1, 1 << 16)
    buffer = plan.buffer(0, 1, 2, 5, 5, 0)
    zeros = np.zeros((lanes, lanes, 3, 3), np.float32)
    geometry = (3, 3, 1, 1, 1, 1, 1, 1)
    slices = (buffer, 0, 1), (buffer, 1, 1)
    with pytest.raises(ValueError, match="border is narrower than the padding"):
        plan.conv("direct", *slices, None, zeros, zeros[:, 0, 0, 0], geometry, "leaky")
    with pytest.raises(ValueError, match="weight has 9 values"):
        plan.conv("direct", *slices, None, np.zeros(9), zeros[:, 0, 0, 0], geometry, "leaky")
    with pytest.raises(ValueError, match="no packed activation 'stair'"):
        plan.conv("direct", *slices, None, zeros, zeros[:, 0, 0, 0], geometry, "stair")
    with pytest.raises(ValueError, match="leaves the arena"):
        plan.buffer(1 << 15, 1, 2, 99, 99, 0)


def test_f4_is_refused_in_bf16():
    with pytest.raises(ValueError, match="too coarse"):
        conv(next(reversed(HALF_LEVELS)), "winograd4", (1, 8, 8, 8), torch.randn(8, 8, 3, 3), 1, 1)

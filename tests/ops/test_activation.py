"""Activations against their formulas, written here number by number, and the gradient factors."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from tests.ops.oracle import assert_as_exact_as_torch, assert_twins_agree, gradients, leaf
from yolo.ops import ACTIVATIONS, ShapeError, activate, backend, bias_act
from yolo.ops.formulas import NATIVE_ACTIVATIONS
from yolo.ops.native import activation_codes

SELU = 1.0507 * 1.6732


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def softplus(x):
    return x if x > 20 else math.exp(x) if x < -20 else math.log(1 + math.exp(x))


def mish_slope(x):
    sp = softplus(x)
    t = math.tanh(sp)
    return x * (1 - t * t) * (1 - math.exp(-sp)) + t


def gelu(x):
    return 0.5 * x * (1 + math.tanh(0.797885 * x + 0.035677 * x**3))


def gelu_slope(y):
    inner = 0.0356774 * y**3 + 0.797885 * y
    factor = 0.0535161 * y**3 + 0.398942 * y
    return 0.5 * math.tanh(inner) + factor / math.cosh(inner) ** 2 + 0.5


def stair(x):
    n = math.floor(x)
    return math.floor(x / 2) if n % 2 == 0 else (x - n) + math.floor(x / 2)


# name: (y of x, factor of x and y), as Darknet means them
SCALAR = {
    "logistic": (sigmoid, lambda x, y: y * (1 - y)),
    "loggy": (lambda x: 2 * sigmoid(x) - 1, lambda x, y: (y + 1) * (1 - (y + 1) / 2)),
    "relu": (lambda x: max(x, 0), lambda x, y: float(y > 0)),
    "relu6": (lambda x: min(max(x, 0), 6), lambda x, y: float(0 < y < 6)),
    "relie": (lambda x: x if x > 0 else 0.01 * x, lambda x, y: 1 if y > 0 else 0.01),
    "leaky": (lambda x: x if x > 0 else 0.1 * x, lambda x, y: 1 if y > 0 else 0.1),
    "revleaky": (lambda x: x if x > 0 else 0.1 * x, lambda x, y: 1 if y > 0 else 0.1),
    "ramp": (lambda x: (x if x > 0 else 0) + 0.1 * x, lambda x, y: 1.1 if y > 0 else 0.1),
    "linear": (lambda x: x, lambda x, y: 1),
    "tanh": (math.tanh, lambda x, y: 1 - y * y),
    "elu": (lambda x: x if x >= 0 else math.expm1(x), lambda x, y: 1 if y >= 0 else y + 1),
    "selu": (
        lambda x: 1.0507 * x if x >= 0 else SELU * math.expm1(x),
        lambda x, y: 1.0507 if y >= 0 else y + SELU,
    ),
    "gelu": (gelu, lambda x, y: gelu_slope(y)),
    "plse": (
        lambda x: 0.01 * (x + 4) if x < -4 else 0.01 * (x - 4) + 1 if x > 4 else x / 8 + 0.5,
        lambda x, y: 0.01 if y < 0 or y > 1 else 0.125,
    ),
    "hardtan": (lambda x: min(max(x, -1), 1), lambda x, y: float(-1 < y < 1)),
    "lhtan": (
        lambda x: 0.001 * x if x < 0 else 0.001 * (x - 1) + 1 if x > 1 else x,
        lambda x, y: 1 if 0 < y < 1 else 0.001,
    ),
    "stair": (stair, lambda x, y: 0 if y == math.floor(y) else 1),
    "swish": (lambda x: x * sigmoid(x), lambda x, y: y + sigmoid(x) * (1 - y)),
    "mish": (lambda x: x * math.tanh(softplus(x)), lambda x, y: mish_slope(x)),
    "hard_mish": (
        lambda x: x if x > 0 else x * x / 2 + x if x > -2 else 0,
        lambda x, y: 1 if x > 0 else x + 1 if x > -2 else 0,
    ),
}
# Where the factor is the derivative of f, away from kinks.
SMOOTH = ("logistic", "loggy", "tanh", "elu", "selu", "swish", "mish")
POINTS = [-90.5, -31.5, -20.5, -8.25, -4.5, -2.25, -1.75, -0.75, -0.125, 1e-3, 0.375, 0.9375,
          1.25, 3.5, 4.75, 6.5, 19.5, 20.5, 45.5, 95.5]  # fmt: skip


def test_every_activation_has_a_formula():
    channelwise = {name for name in ACTIVATIONS if name.startswith("normalize_")}
    assert set(SCALAR) | channelwise == set(ACTIVATIONS)


def test_kernels_know_the_same_names():
    assert tuple(activation_codes()) == NATIVE_ACTIVATIONS


@pytest.mark.parametrize("which", ["native", "torch"])
@pytest.mark.parametrize("name", SCALAR)
def test_formula_and_factor(name, which):
    f, factor = SCALAR[name]
    points = [x for x in POINTS if abs(x) < 30] if name == "gelu" else POINTS
    x = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    with backend(which):
        y = activate(x, name)
        if y.requires_grad and name != "linear":
            (grad,) = torch.autograd.grad(y, x, torch.full_like(y, 3.0))
        else:
            grad = torch.full_like(x, 3.0)
    values = [f(p) for p in points]
    slopes = [3.0 * factor(p, v) for p, v in zip(points, values, strict=True)]
    expected = torch.tensor([values, slopes], dtype=torch.float64)
    torch.testing.assert_close(torch.stack([y.detach(), grad]), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives(name):
    assert gradcheck(lambda x: activate(x, name), leaf(3, 2, 5))
    assert gradcheck(lambda x, b: bias_act(x, b, name), (leaf(3, 2, 5), leaf(2)))


@pytest.mark.parametrize("name", [n for n in NATIVE_ACTIVATIONS if n != "linear"])
def test_float32_is_as_exact_as_torch(name):
    """Over the range where exponentials neither vanish nor overflow; sizes that miss any vector."""
    single = (torch.randn(3, 5, 7, 11) * 6).requires_grad_()
    double = single.detach().double().requires_grad_()
    ours = gradients(lambda x: activate(x, name), single)
    with backend("torch"):
        peer = gradients(lambda x: activate(x, name), single)
        exact = gradients(lambda x: activate(x, name), double)
    assert_as_exact_as_torch(ours, peer, exact)
    relative = ((ours[0] - exact[0]).abs() / exact[0].abs().clamp(min=1e-30)).max()
    assert relative <= (1e-6 if name != "tanh" else 1.0)  # Darknet's tanh loses digits near 0


@pytest.mark.parametrize("name", NATIVE_ACTIVATIONS)
def test_extremes(name):
    """No overflow inside a finite result, and NaN stays NaN."""
    x = torch.tensor([-1e30, -200.0, -88.0, 88.0, 200.0, 1e18, float("nan")], requires_grad=True)
    y = activate(x, name)
    grad = torch.autograd.grad(y, x, torch.ones_like(y))[0] if name != "linear" else y
    assert y[:-1].isfinite().all() and grad[:-1].isfinite().all() and y[-1].isnan()
    with backend("torch"):
        torch.testing.assert_close(y, activate(x, name), equal_nan=True)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_bias_and_backends(name):
    if name != "linear":
        assert_twins_agree(lambda x: activate(x, name), leaf(2, 3, 4, 5))
    assert_twins_agree(lambda x, b: bias_act(x, b, name), leaf(2, 3, 4, 5), leaf(3))
    assert_twins_agree(lambda x, b: bias_act(x, b, name), leaf(4, 3), leaf(3))


def test_normalize_channels_by_hand():
    x = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64).view(1, 3, 1, 1).requires_grad_()
    y = activate(x, "normalize_channels")
    expected = torch.tensor([1 / 4.0001, 0, 3 / 4.0001], dtype=torch.float64).view_as(x)
    torch.testing.assert_close(y, expected)
    (grad,) = torch.autograd.grad(y, x, torch.full_like(y, 2.0))
    torch.testing.assert_close(grad, 2 * expected)


@pytest.mark.parametrize(
    "name", ["normalize_channels_softmax", "normalize_channels_softmax_maxval"]
)
def test_normalize_softmax_by_hand(name):
    x = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64).view(1, 3, 1, 1).requires_grad_()
    e = [math.exp(v - (3 if name.endswith("maxval") else 0)) for v in (1, -2, 3)]
    expected = torch.tensor([v / (sum(e) + 1e-4) for v in e], dtype=torch.float64).view_as(x)
    y = activate(x, name)
    torch.testing.assert_close(y, expected)
    (grad,) = torch.autograd.grad(y, x, torch.ones_like(y))
    torch.testing.assert_close(grad, expected * (1 - expected))


def test_empty_and_strange_layouts():
    assert activate(torch.zeros(0, 3, 2, 2), "mish").shape == (0, 3, 2, 2)
    assert bias_act(torch.zeros(0, 3), torch.zeros(3), "leaky").shape == (0, 3)
    x = leaf(4, 6, 5).transpose(0, 2)[::2]
    assert_twins_agree(lambda t: activate(t, "mish"), x)
    assert_twins_agree(lambda t, b: bias_act(t, b, "mish"), x, leaf(6))


def test_long_planes():
    """One plane longer than a task's share."""
    assert_twins_agree(lambda x, b: bias_act(x, b, "leaky"), leaf(1, 2, 300, 401), leaf(2))


def test_refusals():
    with pytest.raises(ValueError, match=r"unknown activation 'mash'.*mish"):
        activate(torch.zeros(1), "mash")
    with pytest.raises(ShapeError, match=r"x \(2, 3, 4\), got \(2,\)"):
        bias_act(torch.zeros(2, 3, 4), torch.zeros(2), "leaky")
    with pytest.raises(ShapeError, match="needs channels"):
        activate(torch.zeros(3), "normalize_channels")
    x = leaf(3)
    (grad,) = torch.autograd.grad(activate(x, "mish").sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives"):
        grad.sum().backward()

"""Winograd's convolution in the autograd operation, against float64."""

import pytest
import torch
import torch.nn.functional as F

from yolo.ops import conv2d, conv2d_act, winograd
from yolo.ops.precision import precision

SHAPES = [
    # n, c, k, h, w
    (2, 33, 40, 13, 17),
    (1, 64, 32, 16, 16),
    (3, 48, 70, 9, 11),
    (1, 32, 32, 53, 30),
]


def error(y, wanted):
    return (y.double() - wanted).norm() / wanted.norm()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("n, c, k, h, w", SHAPES)
def test_forward_and_gradients(n, c, k, h, w, bias):
    x = torch.randn(n, c, h, w, requires_grad=True)
    weight = (torch.randn(k, c, 3, 3) / (3 * c**0.5)).requires_grad_()
    b = torch.randn(k, requires_grad=True) if bias else None
    given = [t for t in (x, weight, b) if t is not None]
    with precision("fast"):
        y = conv2d(x, weight, b, padding=1)
    grad_y = torch.randn_like(y)
    gradients = torch.autograd.grad(y, given, grad_y)

    double = [t.detach().double().requires_grad_() for t in given]
    wanted = F.conv2d(*double[:2], double[2] if bias else None, padding=1)
    assert error(y, wanted) <= 3e-5
    for got, expected in zip(
        gradients, torch.autograd.grad(wanted, double, grad_y.double()), strict=True
    ):
        assert error(got, expected) <= 3e-5


def test_activation_is_fused():
    x, weight, bias = torch.randn(2, 40, 12, 13), torch.randn(32, 40, 3, 3) / 20, torch.randn(32)
    with precision("fast"):
        y = conv2d_act(x, weight, bias, "mish", padding=1)
    wanted = F.mish(F.conv2d(x.double(), weight.double(), bias.double(), padding=1))
    assert error(y, wanted) <= 3e-5


def test_it_is_asked_for_by_name(monkeypatch):
    used = []
    monkeypatch.setattr(winograd, "forward", lambda *a: used.append("forward") or a[-1].zero_())
    monkeypatch.setattr(winograd, "grad_x", lambda *a: used.append("grad_x") or a[-1].zero_())
    x, weight = torch.randn(1, 32, 16, 16, requires_grad=True), torch.randn(32, 32, 3, 3)
    conv2d(x, weight, padding=1).sum().backward()
    assert used == [] and precision.current == "exact"
    with precision("fast"):
        y = conv2d(x, weight, padding=1)
        conv2d(x, weight, padding=0)
        conv2d(x, weight, padding=1, stride=2)
        conv2d(x.double(), weight.double(), padding=1)
        conv2d(x[:, :8], weight[:, :8], padding=1)
    y.sum().backward()  # the precision of the forward pass holds for its backward pass
    assert used == ["forward", "grad_x"]
    with pytest.raises(ValueError, match="unknown name 'low'"), precision("low"):
        pass

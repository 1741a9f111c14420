"""conv1d against PyTorch's, in float64, and its gradients against differences."""

import pytest
import torch
import torch.nn.functional as F

from yolo.ops import ShapeError, conv1d

GEOMETRIES = [
    {},
    {"padding": 2},
    {"stride": 2, "padding": 1},
    {"dilation": 3, "padding": 3},
    {"groups": 2, "padding": 1},
]


def tensors(groups=1):
    x = torch.randn(2, 4, 13, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 4 // groups, 3, dtype=torch.float64, requires_grad=True)
    return x, weight, torch.randn(6, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_equals_pytorch(geometry):
    x, weight, bias = tensors(geometry.get("groups", 1))
    ours, theirs = conv1d(x, weight, bias, **geometry), F.conv1d(x, weight, bias, **geometry)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    towards = torch.randn_like(ours)
    mine = torch.autograd.grad(ours, (x, weight, bias), towards)
    wanted = torch.autograd.grad(theirs, (x, weight, bias), towards)
    for got, want in zip(mine, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_gradients_by_differences(geometry):
    inputs = tensors(geometry.get("groups", 1))
    assert torch.autograd.gradcheck(lambda *t: conv1d(*t, **geometry), inputs)


def test_refuses_images():
    with pytest.raises(ShapeError, match=r"\(n, c, w\)"):
        conv1d(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3))

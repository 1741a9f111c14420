"""Fully connected: derivatives, exactness, backends."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from tests.ops.oracle import assert_as_exact_as_torch, assert_twins_agree, cast, gradients, leaf
from yolo.ops import ShapeError, linear


@pytest.mark.parametrize("n", [1, 3, 64])
def test_float32_is_as_exact_as_torch(n):
    single = cast((leaf(n, 300), leaf(70, 300), leaf(70)), torch.float32)
    double = cast(single, torch.float64)
    ours, peer = gradients(linear, *single), gradients(F.linear, *single)
    assert_as_exact_as_torch(ours, peer, gradients(F.linear, *double))


def test_derivatives_and_backends():
    assert gradcheck(linear, (leaf(3, 4), leaf(2, 4), leaf(2)))
    assert_twins_agree(linear, leaf(3, 4), leaf(2, 4))
    assert_twins_agree(linear, leaf(4, 5).t(), leaf(4, 3).t(), leaf(3))
    assert linear(torch.zeros(0, 4), torch.zeros(2, 4)).shape == (0, 2)


def test_refusals():
    with pytest.raises(ShapeError, match=r"x \(3, 4\), weight \(2, 5\)"):
        linear(torch.zeros(3, 4), torch.zeros(2, 5))
    with pytest.raises(ShapeError, match=r"bias must have shape \(2,\), got \(3,\)"):
        linear(torch.zeros(3, 4), torch.zeros(2, 4), torch.zeros(3))

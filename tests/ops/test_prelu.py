"""prelu: values and both gradients against PyTorch's own, in float64 and float32."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from tests.ops.oracle import leaf
from yolo.ops import ShapeError, backend, prelu


@pytest.mark.parametrize("which", ["native", "torch"])
@pytest.mark.parametrize(
    "shape", [(2, 3, 4, 5), (3, 7), (1, 1, 1, 1), (2, 5, 33, 65), (0, 3, 2, 2)]
)
def test_values_and_gradients(shape, which):
    x, slope = leaf(*shape), leaf(shape[1])
    grad_y = torch.randn(shape, dtype=torch.float64)
    expected = F.prelu(x, slope)
    wanted = torch.autograd.grad(expected, (x, slope), grad_y)
    with backend(which):
        y = prelu(x, slope)
        found = torch.autograd.grad(y, (x, slope), grad_y)
    torch.testing.assert_close(y, expected, rtol=0, atol=0)
    torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=0)
    torch.testing.assert_close(found[1], wanted[1])


def test_by_hand():
    x = torch.tensor([[-2.0, 3.0], [0.0, -4.0]], requires_grad=True)
    slope = torch.tensor([0.5, -1.0], requires_grad=True)
    y = prelu(x, slope)
    assert y.tolist() == [[-1, 3], [0, 4]]
    y.backward(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert x.grad.tolist() == [[0.5, 2], [1.5, -4]]
    assert slope.grad.tolist() == [-2, -16]


def test_derivatives():
    assert gradcheck(prelu, (leaf(2, 3, 4, 2), leaf(3)))


def test_strides_and_no_grad():
    x, slope = torch.randn(2, 5, 4, 3).transpose(1, 2), torch.randn(4)
    torch.testing.assert_close(prelu(x, slope), F.prelu(x, slope))


@pytest.mark.parametrize(("x", "slope"), [((2, 3, 4), 2), ((3,), 3)])
def test_shapes_that_do_not_fit(x, slope):
    with pytest.raises(ShapeError, match="one value per channel"):
        prelu(torch.zeros(x), torch.zeros(slope))


def test_types_that_do_not_fit():
    with pytest.raises(ShapeError, match="one type"):
        prelu(torch.zeros(1, 2), torch.zeros(2, dtype=torch.float64))

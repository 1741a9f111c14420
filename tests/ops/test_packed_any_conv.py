"""Dense convolutions of any kernel, stride, padding and dilation over packed tensors, each
instruction set, against float64; outputs and scratch memory are poisoned first."""

import pytest
import torch
import torch.nn.functional as F

from tests.ops.test_packed_conv import doubles, error, level, poison  # noqa: F401
from yolo.ops import conv_bias_act, conv_norm_act, packed, unpack

LIMIT = 2e-6
SHAPES = [
    # n, c, k, h, w, size, stride, padding, dilation
    (2, 20, 37, 13, 17, 5, 1, 2, 1),
    (3, 35, 40, 9, 11, 7, 1, 3, 1),
    (2, 33, 20, 12, 14, 3, 1, 2, 2),
    (1, 64, 48, 19, 21, 3, 1, 4, 4),
    (2, 20, 19, 13, 12, 5, 2, 2, 1),
    (2, 20, 19, 13, 12, 1, 2, 0, 1),  # dx: three of four phases reach no tap
    (2, 20, 19, 14, 11, 3, 3, 1, 1),
    (1, 17, 40, 11, 10, 3, 1, 0, 1),
    (2, 16, 16, 9, 9, 2, 1, 0, 1),
    (2, 16, 16, 9, 10, 1, 1, 1, 1),  # y has pixels that see nothing
    (1, 20, 20, 15, 16, 3, 2, 2, 2),
    (1, 20, 20, 15, 16, 3, 2, 3, 3),
    (2, 24, 24, 16, 13, 4, 3, 1, 2),
    (2, 24, 24, 16, 13, 3, (2, 1), 1, 1),
    (2, 24, 24, 16, 13, 3, (1, 3), (0, 2), (2, 1)),
    (1, 8, 8, 30, 30, 11, 4, 0, 1),
    (1, 20, 20, 3, 3, 3, 1, 0, 1),  # one pixel of y
    (2, 16, 16, 4, 3, 9, 1, 4, 1),  # a kernel larger than the map
    (2, 16, 33, 10, 10, 2, 4, 3, 3),
    (7, 100, 20, 40, 37, 3, 1, 2, 2),  # more images than are made at a time
    (7, 120, 144, 40, 37, 3, 2, 4, 2),
]


def leaves(n, c, k, h, w, size):
    x = torch.randn(n, c, h, w)
    weight = torch.randn(k, c, size, size) / (size * c**0.5)
    return [t.requires_grad_() for t in (x, weight, torch.randn(k))]


def run(given, *geometry):
    """y and the gradients for a grad_y, which is returned too."""
    x, weight, bias = given
    y = conv_bias_act(packed.pack(x), weight, bias, "linear", *geometry)
    border = y.data.detach().clone()
    border[:, :, 1:-1, 1:-1] = 0
    assert not border.any()
    y = unpack(y)
    grad_y = torch.randn(y.shape)
    return [y, *torch.autograd.grad(y, given, grad_y)], grad_y


@pytest.mark.parametrize("n, c, k, h, w, size, stride, padding, dilation", SHAPES)
def test_forward_and_gradients(n, c, k, h, w, size, stride, padding, dilation, level):  # noqa: F811
    given = leaves(n, c, k, h, w, size)
    ours, grad_y = run(given, stride, padding, dilation)
    twins = doubles(given)
    wanted = F.conv2d(*twins, stride, padding, dilation)
    expected = torch.autograd.grad(wanted, twins, grad_y.double())
    for got, value in zip(ours, (wanted, *expected), strict=True):
        assert error(got, value) <= LIMIT


@pytest.mark.parametrize("size, stride, padding, dilation", [(5, 1, 2, 1), (3, 2, 2, 2)])
def test_batch_norm(size, stride, padding, dilation, level):  # noqa: F811
    x, weight, bias = leaves(2, 35, 40, 13, 17, size)
    given = [x, weight, (torch.rand(40) + 0.5).requires_grad_(), bias]
    how = stride, padding, dilation
    rolling = [torch.zeros(40), torch.ones(40)]
    y = unpack(conv_norm_act(packed.pack(x), *given[1:], rolling, True, "mish", *how))
    grad_y = torch.randn(y.shape)
    grads = torch.autograd.grad(y, given, grad_y)
    x, weight, scale, bias = twins = doubles(given)
    z = F.conv2d(x, weight, None, *how)
    wanted = F.mish(F.batch_norm(z, None, None, scale, bias, True, eps=1e-5))
    expected = torch.autograd.grad(wanted, twins, grad_y.double())
    for got, value in zip((y, *grads), (wanted, *expected), strict=True):
        assert error(got, value) <= 5e-6


@pytest.mark.parametrize("threads", [1, 3])
def test_results_repeat(threads, level):  # noqa: F811
    def once():
        torch.manual_seed(0)
        return run(leaves(5, 35, 40, 19, 17, 5), 2, 2, 1)[0]

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert all(torch.equal(a, b) for a, b in zip(once(), once(), strict=True))
    finally:
        torch.set_num_threads(before)

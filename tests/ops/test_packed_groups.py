"""Depthwise and grouped convolutions over packed tensors, each instruction set, against PyTorch's
in float64 (which has no layout and no bands); outputs and scratch memory are poisoned first."""

import pytest
import torch
import torch.nn.functional as F

from tests.ops.test_packed_conv import doubles, error, level, poison  # noqa: F401
from yolo.ops import (
    Packed,
    conv_bias_act,
    conv_norm_act,
    packed,
    packed_conv,
    shared_norm,
    unpack,
)
from yolo.ops.packed_conv import fits
from yolo.ops.shapes import conv_shape

LIMIT = 1e-5
DEPTHWISE = [
    # n, c, h, w, size, stride, padding, dilation
    (2, 35, 13, 17, 3, 1, 1, 1),
    (1, 16, 10, 9, 3, 2, 1, 1),
    (3, 40, 7, 8, 3, 2, 1, 1),
    (2, 20, 9, 11, 5, 1, 2, 1),
    (1, 33, 12, 13, 5, 2, 2, 1),
    (2, 24, 15, 14, 7, 1, 3, 1),
    (1, 18, 12, 11, 3, 1, 2, 2),
    (2, 17, 14, 13, 3, 2, 3, 3),
    (2, 8, 14, 15, 3, 3, 0, 1),
    (2, 19, 11, 8, 2, 1, 0, 1),
    (2, 21, 19, 16, 4, 3, 1, 2),
    (1, 5, 8, 7, 3, (2, 1), 1, 1),
]
GROUPED = [
    # n, c, k, h, w, size, stride, groups
    (2, 64, 64, 9, 8, 5, 2, 8),
    (2, 128, 128, 9, 11, 3, 1, 32),
    (1, 64, 64, 13, 12, 3, 2, 8),
    (2, 64, 64, 10, 7, 3, 2, 2),
    (1, 64, 96, 26, 26, 3, 1, 2),
    (2, 48, 96, 8, 9, 1, 1, 3),
    (3, 64, 128, 8, 9, 3, 1, 16),
    (2, 32, 64, 7, 7, 3, 1, 32),
    (1, 6, 10, 9, 8, 3, 1, 2),
]


def leaves(n, c, k, h, w, size, groups):
    x = torch.randn(n, c, h, w)
    weight = torch.randn(k, c // groups, size, size) / (size * (c // groups) ** 0.5)
    return [t.requires_grad_() for t in (x, weight, torch.rand(k) + 0.5, torch.randn(k))]


def check(given, geometry, activation="swish", function=F.silu):
    """conv_norm_act and its four gradients, against the same in float64."""
    k = len(given[2])
    rolling = [torch.randn(k), torch.rand(k)]
    exact = [t.double() for t in rolling]
    x, *others = given
    y = conv_norm_act(packed.pack(x), *others, rolling, True, activation, *geometry)
    assert isinstance(y, Packed)
    border = y.data.detach().clone()
    border[:, :, 1:-1, 1:-1] = 0
    assert not border.any()
    y = unpack(y)
    grad_y = torch.randn(y.shape)
    grads = torch.autograd.grad(y, given, grad_y)
    x, weight, scale, bias = twins = doubles(given)
    z = F.conv2d(x, weight, None, *geometry)
    wanted = function(F.batch_norm(z, *exact, scale, bias, True, 0.01, 1e-5))
    expected = torch.autograd.grad(wanted, twins, grad_y.double())
    for got, value in zip((y, *rolling, *grads), (wanted, *exact, *expected), strict=True):
        assert error(got, value) <= LIMIT


@pytest.mark.parametrize("n, c, h, w, size, stride, padding, dilation", DEPTHWISE)
def test_depthwise(n, c, h, w, size, stride, padding, dilation, level):  # noqa: F811
    check(leaves(n, c, c, h, w, size, c), (stride, padding, dilation, c))


@pytest.mark.parametrize("n, c, k, h, w, size, stride, groups", GROUPED)
def test_grouped(n, c, k, h, w, size, stride, groups, level):  # noqa: F811
    given = leaves(n, c, k, h, w, size, groups)
    check(given, (stride, size // 2, 1, groups))


@pytest.mark.parametrize("shape", [(2, 9, 16, 15, 1, 2, 0), (2, 12, 5, 6, 1, 1, 1)])
def test_depthwise_of_one_tap(shape, level):  # noqa: F811
    """Some pixels reach no tap, or taps no pixel. (A norm would leave its weight no gradient.)"""
    n, c, h, w, size, stride, padding = shape
    x, weight, _, bias = leaves(n, c, c, h, w, size, c)
    given, geometry = [x, weight, bias], (stride, padding, 1, c)
    y = unpack(conv_bias_act(packed.pack(x), weight, bias, "linear", *geometry))
    grad_y = torch.randn(y.shape)
    grads = torch.autograd.grad(y, given, grad_y)
    twins = doubles(given)
    wanted = F.conv2d(*twins, *geometry)
    expected = torch.autograd.grad(wanted, twins, grad_y.double())
    for got, value in zip((y, *grads), (wanted, *expected), strict=True):
        assert error(got, value) <= 1e-6


@pytest.mark.parametrize("c, groups, algorithm", [(40, 40, "depthwise"), (128, 8, "direct")])
def test_any_number_of_threads_gives_the_same_bits(c, groups, algorithm, level):  # noqa: F811
    def run(threads):
        torch.manual_seed(0)
        torch.set_num_threads(threads)
        given = leaves(3, c, c, 13, 17, 3, groups)
        rolling = [torch.zeros(c), torch.ones(c)]
        x, *others = given
        y = conv_norm_act(packed.pack(x), *others, rolling, True, "leaky", 1, 1, 1, groups)
        assert y.data.grad_fn.layer.conv.algorithm == algorithm
        y = unpack(y)
        return [y, *rolling, *torch.autograd.grad(y.square().sum(), given)]

    threads = torch.get_num_threads()
    try:
        runs = [run(n) for n in (1, 2, 3, 7)]
    finally:
        torch.set_num_threads(threads)
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("groups, c", [(24, 24), (4, 64)])
def test_gradients_from_a_given_dz(groups, c, level):  # noqa: F811
    """Those of synchronised normalisation, which subtracts between its two passes; scratch
    memory is poisoned."""
    n, h, w = 2, 11, 13
    x, dz, weight = (
        torch.randn(n, c, h, w),
        torch.randn(n, c, h, w),
        torch.randn(c, c // groups, 3, 3),
    )
    shape = conv_shape(x, weight, None, 1, 1, 1, groups)
    layer = packed_conv._Layer(shape, "linear", False, False, 2)
    data = [packed.pack(t).data for t in (dz, x)]
    grad, dx = torch.full_like(weight, torch.nan), torch.full_like(data[1], torch.nan)
    space = torch.full((layer.workspace,), torch.nan)
    at = [t.data_ptr() for t in (*data, weight, grad, dx, space)]
    layer.conv.gradients(*at[:2], 0, *at[2:])
    x, dz, weight = (t.double() for t in (x, dz, weight))
    how = {"padding": 1, "groups": groups}
    assert (
        error(unpack(Packed(dx, c)), torch.nn.grad.conv2d_input(x.shape, weight, dz, **how)) <= 1e-6
    )
    assert error(grad, torch.nn.grad.conv2d_weight(x, weight.shape, dz, **how)) <= 1e-6


def test_who_fits():
    def shape(c, k, groups, size=3, stride=1, padding=1, dilation=1):
        x, weight = torch.empty(1, c, 20, 20), torch.empty(k, c // groups, size, size)
        return conv_shape(x, weight, None, stride, padding, dilation, groups)

    assert fits(shape(7, 7, 7, 5, 2, 2), "swish") and fits(shape(64, 64, 64, 3, 1, 2, 2), "leaky")
    assert not fits(shape(8, 8, 8), "elu")
    assert fits(shape(128, 128, 32), "leaky")
    assert fits(shape(128, 128, 32, 5, 1, 2), "leaky") and fits(shape(9, 7, 1, 4, 3, 0), "relu")
    assert not fits(shape(8, 8, 1, 12, 1, 6), "leaky")
    assert not fits(shape(1000, 2000, 1000), "leaky"), "999 of 1000 products would be by zero"


@pytest.mark.parametrize("groups", [24, 1])
def test_synchronised_statistics_of_one_rank_are_its_own(groups, level, monkeypatch):  # noqa: F811
    def run():
        torch.manual_seed(0)
        x, *others = given = leaves(2, 24, 24, 9, 8, 3, groups)
        rolling = [torch.zeros(24), torch.ones(24)]
        how = 1, 1, 1, groups
        y = unpack(conv_norm_act(packed.pack(x), *others, rolling, True, "leaky", *how))
        return [y, *rolling, *torch.autograd.grad(y.square().sum(), given)]

    own = run()
    monkeypatch.setattr(shared_norm, "shares", lambda: True)
    for a, b in zip(run(), own, strict=True):
        assert error(a, b.double()) <= 1e-5

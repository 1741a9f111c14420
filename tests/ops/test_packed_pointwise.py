"""Products, activations and average pools of packed tensors against PyTorch, at every level."""

import pytest
import torch
import torch.nn.functional as F

from tests.ops.test_packed_spatial import level, same  # noqa: F401
from yolo.ops import activate, avgpool, maxpool2d, multiply, packed, prelu, unpack
from yolo.ops.packed_pointwise import add_act, drop, weighted_sum

FUNCTIONS = {
    "linear": lambda x: x * 1,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "relu": F.relu,
    "relu6": F.relu6,
    "ramp": lambda x: torch.where(x > 0, 1.1 * x, 0.1 * x),
    "logistic": torch.sigmoid,
    "tanh": torch.tanh,
    "swish": F.silu,
    "mish": F.mish,
}


def image(*shape):
    return (3 * torch.randn(*shape)).requires_grad_()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations(name):
    x = image(2, 21, 5, 6)
    same(unpack(activate(packed.pack(x), name)), FUNCTIONS[name](x), x, 2e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sum_and_activation(name):
    x, y = image(2, 19, 5, 3), image(2, 19, 5, 3)
    ours = unpack(add_act(packed.pack(x), packed.pack(y), name))
    same(ours, FUNCTIONS[name](x + y), (x, y), 2e-6)


def test_sum_with_a_source_of_fewer_channels():
    """As in the family of resnet50, whose stages begin with one."""
    assert packed.can_match(32, 41) and packed.can_match(41, 41)
    assert not packed.can_match(33, 41) and not packed.can_match(48, 41)
    x, y = image(2, 41, 5, 3), image(2, 32, 5, 3)
    ours = unpack(packed.add(packed.pack(x), packed.match(packed.pack(y), 41)))
    same(ours, x + F.pad(y, (0, 0, 0, 0, 0, 9)), (x, y))


def test_sum_with_a_source_of_more_channels():
    """As in enet-coco.cfg: those that only the source has are left out."""
    assert packed.can_match(48, 32)
    x, y = image(2, 32, 5, 3), image(2, 48, 5, 3)
    ours = unpack(packed.add(packed.pack(x), packed.match(packed.pack(y), 32)))
    same(ours, x + y[:, :32], (x, y))


def test_every_nth_pixel():
    x = image(2, 19, 9, 12)
    same(unpack(maxpool2d(packed.pack(x), 1, 3, 0)), x[:, :, ::3, ::3], x)


def test_product():
    x, y = image(2, 35, 4, 7), image(2, 35, 4, 7)
    same(unpack(multiply(packed.pack(x), packed.pack(y))), x * y, (x, y))


def test_a_factor_for_each_channel():
    x, y = image(3, 18, 6, 7), image(3, 18, 1, 1)
    same(unpack(multiply(packed.pack(x), packed.pack(y))), x * y, (x, y), 1e-5)


@pytest.mark.parametrize("c, h, w", [(18, 6, 7), (5, 3, 1), (48, 5, 4), (3, 1, 1)])
def test_a_factor_for_each_pixel(c, h, w):
    """As scale_wh=1 has it. The lanes that no channel has, here NaN, count for nothing."""
    x, y = image(3, c, h, w), image(3, 1, h, w)
    wide = packed.pack(x)
    if c % packed.lanes():
        wide.data.data[:, -1, ..., c % packed.lanes() :] = torch.nan
    same(unpack(multiply(wide, packed.pack(y))), x * y, (x, y), 1e-5)


@pytest.mark.parametrize("each", [True, False])
def test_weighted_sum(each):
    """Sources of as many channels, of fewer and of more, the second one a concatenation."""
    xs = [image(2, c, 5, 3) for c in (48, 48, 32, 64)]
    factors = torch.randn(4, 48 if each else 1, requires_grad=True)
    halves = [packed.pack(t) for t in xs[1].split([16, 32], 1)]
    ours = [packed.pack(xs[0]), packed.join(halves), *map(packed.pack, xs[2:])]
    wide = [t.double() for t in xs]
    wide[2], wide[3] = F.pad(wide[2], (0, 0, 0, 0, 0, 16)), wide[3][:, :48]
    wanted = sum(x * f.double()[:, None, None] for x, f in zip(wide, factors, strict=True))
    same(unpack(weighted_sum(ours, factors)).double(), wanted, (*xs, factors), 1e-5)


@pytest.mark.parametrize("threads", [2, 5])
def test_sums_are_the_same_for_any_threads(threads):
    def run(count):
        torch.manual_seed(0)
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            x, y, pixel = image(3, 37, 9, 8), image(3, 37, 9, 8), image(3, 1, 9, 8)
            factors = torch.randn(2, 37, requires_grad=True)
            total = weighted_sum([packed.pack(x), packed.pack(y)], factors)
            total = unpack(multiply(total, packed.pack(pixel)))
            grads = torch.autograd.grad(total.square().sum(), (x, y, factors, pixel))
            return [total, *grads]
        finally:
            torch.set_num_threads(before)

    assert all(torch.equal(a, b) for a, b in zip(run(1), run(threads), strict=True))


@pytest.mark.parametrize("c, h, w", [(21, 5, 6), (32, 1, 1), (3, 9, 7)])
def test_prelu(c, h, w):
    x, slope = image(2, c, h, w), torch.randn(c, requires_grad=True)
    x.data[0, 0, 0, 0] = 0
    same(unpack(prelu(packed.pack(x), slope)), F.prelu(x, slope), (x, slope), 1e-5)


def test_prelu_whose_slopes_are_fixed():
    x, slope = image(2, 21, 5, 6), torch.randn(21)
    same(unpack(prelu(packed.pack(x), slope)), F.prelu(x, slope), x, 1e-6)


def test_product_with_a_constant_and_with_a_concatenation():
    """A part of a concatenation is made again for the gradient; a constant gets none."""
    x, y, factor = image(1, 16, 4, 5), image(1, 17, 4, 5), torch.rand(1, 33, 4, 5)
    whole = packed.join([packed.pack(x), packed.pack(y)])
    same(unpack(multiply(whole, packed.pack(factor))), torch.cat([x, y], 1) * factor, (x, y))


@pytest.mark.parametrize("height, width", [(6, 9), (1, 1), (13, 4)])
def test_avgpool(height, width):
    x = image(2, 20, height, width)
    same(unpack(avgpool(packed.pack(x))), x.mean((2, 3), keepdim=True), x, 1e-6)


def dropped(seed, p=0.3, shape=(2, 37, 40, 30)):
    """(x, y, gradient by x) of dropout."""
    x = torch.rand(shape).add(1).requires_grad_()
    torch.manual_seed(seed)
    y = unpack(drop(packed.pack(x), p))
    return x, y, torch.autograd.grad(y, x, x.detach())[0]


def test_dropout_keeps_and_drops():
    x, y, grad = dropped(0)
    kept = y != 0
    assert abs(float(kept.float().mean()) - 0.7) <= 0.01
    torch.testing.assert_close(y, torch.where(kept, x / 0.7, 0))
    assert torch.equal(grad, y)


def test_dropout_draws_without_pattern():
    """Neither neighbours along any axis nor masks of two seeds go together."""
    kept, other = ((dropped(seed, 0.5)[1] != 0).double() - 0.5 for seed in (1, 2))
    pairs = [(kept, other)] + [(kept, kept.roll(1, axis)) for axis in range(4)]
    assert all(abs(float((a * b).mean())) <= 0.25 * 4 / kept.numel() ** 0.5 for a, b in pairs)
    means = kept.mean((2, 3))
    assert float(means.abs().max()) <= 0.5 * 5 / (40 * 30) ** 0.5


def test_dropout_is_the_same_at_every_level_and_for_any_threads(monkeypatch):
    monkeypatch.setenv("YOLO_ISA", "portable")
    wanted = dropped(5)[1] != 0
    monkeypatch.undo()
    threads = torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        got = dropped(5)[1] != 0
        torch.set_num_threads(threads)
        assert torch.equal(got, wanted)
    assert not torch.equal(dropped(6)[1] != 0, wanted)

"""Batch normalisation with activation against a float64 formula written out here."""

import pytest
import torch
from torch.autograd import gradcheck

from tests.ops.oracle import assert_as_exact_as_torch, assert_twins_agree, cast, gradients, leaf
from yolo.ops import ShapeError, activate, backend, batch_norm_act

MOMENTUM, EPS = 0.01, 1e-5


def written_out(x, scale, bias, mean, var, training, activation="linear"):
    """(y, new rolling mean, new rolling variance) by the formula, differentiable by autograd."""
    count = x.numel() // x.shape[1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    axes = [0, *range(2, x.dim())]
    if training:
        new_mean = x.sum(axes) / count
        squares = (x - new_mean.view(shape)).square().sum(axes)
        rolling = (
            (1 - MOMENTUM) * mean + MOMENTUM * new_mean.detach(),
            (1 - MOMENTUM) * var + MOMENTUM * squares.detach() / (count - 1),
        )
        use_mean, use_var = new_mean, squares / count
    else:
        rolling, use_mean, use_var = (mean, var), mean, var
    z = (x - use_mean.view(shape)) / (use_var.view(shape) + EPS).sqrt()
    y = z * scale.view(shape) + bias.view(shape)
    with backend("torch"):
        return activate(y, activation), *rolling


def buffers(c, dtype=torch.float64):
    return torch.randn(c, dtype=dtype) * 0.3, torch.rand(c, dtype=dtype) + 0.5


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ["linear", "leaky", "mish", "swish", "relu6", "elu"])
@pytest.mark.parametrize("shape", [(3, 5, 7, 6), (2, 3, 1, 1), (9, 4), (1, 2, 70, 71)])
def test_float64_equals_formula(shape, activation, training):
    x, scale, bias = leaf(*shape), leaf(shape[1]), leaf(shape[1])
    mean, var = buffers(shape[1])
    expected = written_out(x, scale, bias, mean, var, training, activation)
    rolling = mean.clone(), var.clone()
    run = lambda *t: batch_norm_act(*t, *rolling, training, activation)  # noqa: E731
    ours = gradients(run, x, scale, bias)
    torch.testing.assert_close(list(rolling), list(expected[1:]), rtol=1e-12, atol=1e-12)
    exact = gradients(
        lambda *t: written_out(*t, mean, var, training, activation)[0], x, scale, bias
    )
    torch.testing.assert_close(ours, exact, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_float32_is_as_exact_as_torch(offset):
    """A large mean must not eat the digits of the variance."""
    x = torch.randn(4, 6, 33, 37) + offset
    single = cast((x.requires_grad_(), leaf(6), leaf(6)), torch.float32)
    double = cast(single, torch.float64)
    rolling = lambda d: (torch.zeros(6, dtype=d), torch.ones(6, dtype=d))  # noqa: E731
    run = lambda *t: batch_norm_act(*t, *rolling(t[0].dtype), True, "leaky")  # noqa: E731
    ours = gradients(run, *single)
    with backend("torch"):
        peer, exact = gradients(run, *single), gradients(run, *double)
    assert_as_exact_as_torch(ours, peer, exact, floor=2e-6 if offset else 3e-7)


def test_statistics_of_a_far_mean():
    x = torch.randn(2, 1, 50, 50) + 1000
    mean, var = torch.zeros(1), torch.zeros(1)
    batch_norm_act(x, torch.ones(1), torch.zeros(1), mean, var, True, momentum=1.0)
    exact = x.double()
    torch.testing.assert_close(mean.double(), exact.mean().view(1), rtol=1e-7, atol=0)
    torch.testing.assert_close(var.double(), exact.var().view(1), rtol=1e-5, atol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_derivatives(training, layout):
    x = torch.randn(2, 3, 2, 3, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    run = lambda *t: batch_norm_act(*t, *(b.clone() for b in rolling), training, "mish")  # noqa: E731
    rolling = buffers(3)
    assert gradcheck(run, (x, leaf(3), leaf(3)))


def test_by_hand():
    """Values 1, 3 of one channel: mean 2, variance 1 (biased), 2 (unbiased)."""
    x = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    mean, var = torch.tensor([5.0]), torch.tensor([7.0])
    y = batch_norm_act(x, torch.tensor([2.0]), torch.tensor([0.5]), mean, var, True, eps=0.0)
    assert y.flatten().tolist() == [-1.5, 2.5]
    torch.testing.assert_close(mean, torch.tensor([0.99 * 5 + 0.01 * 2]))
    torch.testing.assert_close(var, torch.tensor([0.99 * 7 + 0.01 * 2]))


def test_one_value_per_channel():
    """Its spread is 0: y is the bias, and no gradient reaches x."""
    x, scale, bias = leaf(1, 3, 1, 1), leaf(3), leaf(3)
    mean, var = buffers(3)
    before = var.clone()
    y, grad_x, grad_scale, _ = gradients(
        lambda *t: batch_norm_act(*t, mean, var, True), x, scale, bias
    )
    torch.testing.assert_close(y.flatten(), bias.detach())
    torch.testing.assert_close(var, 0.99 * before)
    assert grad_x.abs().max() <= 1e-12 and grad_scale.abs().max() <= 1e-12


def test_backends_agree_on_small_counts():
    for shape in ((0, 3, 4, 4), (1, 3, 1, 1), (1, 3)):
        rolling = buffers(3)
        results = []
        for which in ("native", "torch"):
            copies = [b.clone() for b in rolling]
            with backend(which):
                y = batch_norm_act(
                    torch.ones(*shape).double(),
                    *[torch.ones(3).double()] * 2,
                    *copies,
                    True,
                    "mish",
                )
            results.append([y, *copies])
        torch.testing.assert_close(*results)


def test_empty_batch_moves_nothing():
    x, scale, bias = leaf(0, 3, 4, 4), leaf(3), leaf(3)
    mean, var = buffers(3)
    kept = mean.clone(), var.clone()
    y, grad_x, grad_scale, grad_bias = gradients(
        lambda *t: batch_norm_act(*t, mean, var, True, "leaky"), x, scale, bias
    )
    assert y.shape == grad_x.shape == x.shape
    assert torch.equal(mean, kept[0]) and torch.equal(var, kept[1])
    assert (grad_scale == 0).all() and (grad_bias == 0).all()


def test_strange_layouts_and_subsets():
    rolling = buffers(4)
    run = lambda *t: batch_norm_act(*t, *(b.clone() for b in rolling), True, "leaky")  # noqa: E731
    assert_twins_agree(run, leaf(6, 5, 4, 3).transpose(1, 2), leaf(4), leaf(4))
    fixed = torch.ones(4, dtype=torch.float64)
    assert_twins_agree(run, leaf(2, 4, 3, 3), fixed, leaf(4))
    assert_twins_agree(run, torch.randn(2, 4, 3, 3, dtype=torch.float64), leaf(4), fixed)
    expanded = leaf(1, 4, 1, 1).expand(3, 4, 5, 5)
    assert_twins_agree(run, expanded, leaf(4), leaf(4), rtol=1e-6, atol=1e-8)


def test_refusals():
    c = torch.ones(3)
    with pytest.raises(ShapeError, match=r"scale must have one value per channel of x \(2, 4"):
        batch_norm_act(torch.zeros(2, 4, 3, 3), c, c, c.clone(), c.clone(), True)
    with pytest.raises(ShapeError, match="must share one type"):
        batch_norm_act(torch.zeros(2, 3).double(), c, c, c.clone(), c.clone(), True)
    x = leaf(4, 3)
    d = torch.ones(3, dtype=torch.float64)
    y = batch_norm_act(x, d, d, d.clone(), d.clone(), True)
    (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="batch_norm_act: second derivatives"):
        grad.sum().backward()


def test_buffers_changed_after_forward_do_not_disturb_backward():
    """Evaluation uses the rolling pair; a later step may move it before backward runs."""
    x, scale, bias = leaf(3, 2, 4, 4), leaf(2), leaf(2)
    mean, var = buffers(2)
    y = batch_norm_act(x, scale, bias, mean, var, False)
    expected = scale.detach().view(1, 2, 1, 1) / (var + EPS).sqrt().view(1, 2, 1, 1)
    mean.add_(5), var.mul_(9)
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad, expected.expand_as(x))

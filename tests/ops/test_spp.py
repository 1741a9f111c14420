"""Max pools of one map that a concatenation joins: as pools one by one."""

import pytest
import torch

from yolo import ops
from yolo.ops import spp


def pooled(x, size):
    return ops.spp_pool(x, size, 1, size - 1).expect(1)


def joined(x, other):
    """Pools of two maps, out of order, the first map among them, and one by itself."""
    parts = [pooled(x, 5), other, pooled(x, 13), x, pooled(other, 3), pooled(x, 9)]
    return ops.concatenate(parts), pooled(x, 7).planar()


def one_by_one(x, other):
    maps = [(x, 5), (other, 1), (x, 13), (x, 1), (other, 3), (x, 9)]
    parts = [ops.maxpool2d(x, size, 1, size - 1) for x, size in maps]
    return torch.cat(parts, 1), ops.maxpool2d(x, 7, 1)


def gradients(function, *inputs):
    ys = function(*inputs)
    grads = [torch.arange(y.numel()).sin().view(y.shape).double() for y in ys]
    return *ys, *torch.autograd.grad(ys, inputs, grads)


def test_the_same_values_and_gradients():
    """Among few values, of which most windows have several largest ones."""
    x, other = (torch.randint(0, 3, (2, 4, 7, 10)).double().requires_grad_() for _ in range(2))
    with ops.layout("pending"):
        found = gradients(joined, x, other)
    for mine, wanted in zip(found, gradients(one_by_one, x, other), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-12, atol=1e-12)


def test_pools_of_one_map_are_one_call(monkeypatch):
    sizes, plain = [], spp._forward
    monkeypatch.setattr(spp, "_forward", lambda x, s, ys: sizes.append(s) or plain(x, s, ys))
    x, other = (torch.rand(1, 2, 5, 5).requires_grad_() for _ in range(2))
    with ops.layout("pending"):
        joined(x, other)
    assert sorted(sizes) == [(3,), (5, 9, 13), (7,)]


@pytest.mark.parametrize("how", [(2, 1, 1), (3, 2, 2), (3, 1, 0), (17, 1, 16), ((3, 5), 1, (2, 4))])
def test_other_pools_are_tensors(how):
    x = torch.rand(1, 2, 6, 8).requires_grad_()
    with ops.layout("pending"):
        found = ops.spp_pool(x, *how)
    assert torch.equal(found, ops.maxpool2d(x, *how))


def test_only_in_training_with_gradients():
    x = torch.rand(1, 2, 6, 8)
    with ops.layout("pending"):
        assert torch.is_tensor(ops.spp_pool(x, 3, 1, 2))
        x.requires_grad_()
        assert isinstance(ops.spp_pool(x, 3, 1, 2), ops.Unwritten)
        with ops.backend("torch"):
            assert torch.is_tensor(ops.spp_pool(x, 3, 1, 2))
    assert torch.is_tensor(ops.spp_pool(x, 3, 1, 2))


def test_a_second_derivative_is_refused():
    x = torch.rand(1, 2, 6, 8).double().requires_grad_()
    with ops.layout("pending"):
        y, _ = joined(x, x)
        (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives"):
        grad.sum().backward()

"""Layout changes, pools, enlargements, joins of packed tensors against PyTorch."""

import pytest
import torch
import torch.nn.functional as F

from yolo import _C
from yolo.ops import Packed, maxpool2d, packed, reorg, reorg3d, unpack, upsample

LEVELS = [name for name, _ in _C.packed.levels()]


@pytest.fixture(params=LEVELS, autouse=True)
def level(request, monkeypatch):
    monkeypatch.setenv("YOLO_ISA", request.param)


def same(ours, wanted, x, tolerance=0.0):
    """Equal values, and equal gradients by x (or each of several) for a random one by the
    result."""
    grad = torch.randn(wanted.shape)
    torch.testing.assert_close(ours, wanted, rtol=tolerance, atol=tolerance)
    ours, wanted = (torch.autograd.grad(y, x, grad) for y in (ours, wanted))
    torch.testing.assert_close(ours, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("c", [1, 16, 21])
def test_there_and_back(c):
    x = torch.randn(2, c, 5, 7, requires_grad=True)
    there = packed.pack(x)
    assert isinstance(there, Packed) and there.shape == x.shape
    border = there.data.clone()
    border[:, :, 1:-1, 1:-1] = 0
    assert not border.any()
    same(unpack(there), x * 1, x)


@pytest.mark.parametrize(
    "size, stride, padding",
    [(2, 2, 1), (2, 2, 0), (2, 1, 1), (3, 2, 2), (5, 1, 4), (13, 1, 12), ((2, 3), (1, 2), (1, 2))],
)
@pytest.mark.parametrize("ties", [False, True])
def test_maxpool(size, stride, padding, ties):
    """Among equal values the first of the window takes the gradient, as in the planar kernels."""
    x = torch.randn(2, 19, 13, 10)
    x = (x.sign() if ties else x).requires_grad_()
    ours = unpack(maxpool2d(packed.pack(x), size, stride, padding))
    limit = 1e-5 if size == 13 else 1e-6  # up to 169 gradients are added, in another order
    same(ours, maxpool2d(x, size, stride, padding), x, limit)


@pytest.mark.parametrize("stride, scale", [(2, 1.0), (3, 0.5)])
def test_upsample(stride, scale):
    x = torch.randn(2, 19, 5, 4, requires_grad=True)
    ours = unpack(upsample(packed.pack(x), stride, scale))
    same(ours, F.interpolate(x, scale_factor=stride) * scale, x, 1e-6)


@pytest.mark.parametrize("rearrange", [reorg, reorg3d])
@pytest.mark.parametrize(
    "reverse, c, h, w, stride",
    [
        (False, 8, 6, 10, 2),
        (False, 36, 4, 6, 2),
        (False, 18, 9, 3, 3),
        (False, 64, 2, 2, 2),
        (False, 5, 3, 4, 1),
        (True, 80, 3, 5, 2),
        (True, 16, 1, 7, 2),
        (True, 162, 2, 3, 3),
    ],
)
def test_reorg(rearrange, reverse, c, h, w, stride):
    """Both of Darknet's orders, values and gradients, to the bit; unused lanes are zero."""
    x = torch.randn(2, c, h, w, requires_grad=True)
    ours = rearrange(packed.pack(x), stride, reverse)
    kept = ours.data.detach().clone()
    kept[:, :, 1:-1, 1:-1] = 0
    rest = (ours.channels - 1) % packed.lanes() + 1
    assert not kept.any() and not ours.data[:, -1, ..., rest:].any()
    same(unpack(ours), rearrange(x, stride, reverse), x)


def test_join_part_add():
    a, b = (torch.randn(2, c, 4, 5, requires_grad=True) for c in (32, 23))
    joined = unpack(packed.join([packed.pack(a), packed.pack(b)]))
    same(joined, torch.cat([a, b], 1), b)
    same(unpack(packed.part(packed.pack(a), 2, 1)), a[:, 16:], a)
    same(unpack(packed.add(packed.pack(a), packed.pack(2 * a))), 3 * a, a, 1e-6)
    assert packed.can_join([32, 23]) and not packed.can_join([23, 32])
    assert packed.can_part(64, 2) and not packed.can_part(42, 2) and packed.can_part(21, 1)


def test_slices_are_read_as_they_lie():
    """A group of channels as input, and a part of a concatenation's gradient."""
    x = torch.randn(2, 32, 6, 6, requires_grad=True)
    half = packed.part(packed.pack(x), 2, 1)
    pooled, large = maxpool2d(half, 3, 1, 2), upsample(maxpool2d(half, 2, 2, 0), 2, 1.0)
    ours = unpack(packed.join([pooled, large, half]))
    wanted = x[:, 16:]
    small = F.interpolate(F.max_pool2d(wanted, 2), scale_factor=2)
    same(ours, torch.cat([maxpool2d(wanted, 3, 1, 2), small, wanted], 1), x, 1e-6)

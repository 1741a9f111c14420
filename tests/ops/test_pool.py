"""Pools, upsample and reorg: by hand, against index loops, and both backends."""

import itertools
import math

import pytest
import torch
from torch.autograd import gradcheck

from tests.ops.oracle import assert_twins_agree, gradients, leaf
from yolo.ops import ShapeError, avgpool, maxpool2d, reorg, reorg3d, upsample

POOLS = {
    "2/2": (2, 2, None),
    "2/1": (2, 1, None),
    "2/2 unpadded": (2, 2, 0),
    "3/2": (3, 2, None),
    "5/1": (5, 1, None),
    "9/1": (9, 1, None),
    "13/1": (13, 1, None),
    "3/3 padding 1": (3, 3, 1),
    "oblong": ((2, 3), (2, 1), (1, 2)),
}


def maxpool_loop(x, size, stride, padding):
    """Darknet's definition, one window after the other: values and the winners' gradients."""
    size, stride = ([v, v] if isinstance(v, int) else v for v in (size, stride))
    padding = [s - 1 for s in size] if padding is None else padding
    padding = [padding, padding] if isinstance(padding, int) else padding
    n, c, h, w = x.shape
    p, q = ((d + a - b) // s + 1 for d, a, b, s in zip((h, w), padding, size, stride, strict=True))
    y, at = x.new_zeros(n, c, p, q), torch.zeros(n, c, p, q, 2, dtype=torch.long)
    for b, k, i, j in itertools.product(range(n), range(c), range(p), range(q)):
        best = -math.inf
        for r, s in itertools.product(range(size[0]), range(size[1])):
            row, col = i * stride[0] + r - padding[0] // 2, j * stride[1] + s - padding[1] // 2
            if 0 <= row < h and 0 <= col < w and x[b, k, row, col] > best:
                best, at[b, k, i, j] = x[b, k, row, col].item(), torch.tensor([row, col])
        y[b, k, i, j] = best
    return y, at


@pytest.mark.parametrize("name", POOLS)
def test_maxpool_equals_loop(name):
    """With ties: whole numbers from a small range, so that the first winner matters."""
    x = torch.randint(-3, 3, (2, 2, 9, 14)).double().requires_grad_()
    y, at = maxpool_loop(x.detach(), *POOLS[name])
    ours, grad = gradients(lambda t: maxpool2d(t, *POOLS[name]), x)
    expected = torch.zeros_like(x)
    grad_y = torch.arange(y.numel(), dtype=torch.float64).sin().reshape(y.shape)
    for where in itertools.product(*map(range, y.shape)):
        row, col = at[where].tolist()
        expected[where[0], where[1], row, col] += grad_y[where]
    torch.testing.assert_close([ours, grad], [y, expected])
    with torch.no_grad():
        assert torch.equal(maxpool2d(x, *POOLS[name]), y)


def test_maxpool_shapes():
    """Darknet's default padding: the width divided by the stride, rounded up."""
    for width, stride, out in ((13, 2, 7), (26, 2, 13), (13, 1, 13)):
        assert maxpool2d(torch.zeros(1, 1, width, width), 2, stride).shape[2:] == (out, out)


def test_maxpool_specials():
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 0, 0], x[0, 0, 3, 3] = float("nan"), float("-inf")
    y = maxpool2d(x, 2, 2, 0)[0, 0]
    assert y[0, 0].isnan() and y[1, 1] == 0 and y.isnan().sum() == 1
    y = maxpool2d(x.requires_grad_(), 2, 2, 0)[0, 0]
    assert y[0, 0].isnan() and y.isnan().sum() == 1


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_derivatives(layout):
    x = torch.randn(1, 4, 4, 2, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    functions = [
        lambda t: maxpool2d(t, 3, 2),
        avgpool,
        lambda t: upsample(t, 2, 0.5),
        lambda t: upsample(t, -2, 3.0),
        lambda t: reorg(t, 2),
        lambda t: reorg(t, 2, reverse=True),
        lambda t: reorg3d(t, 2),
    ]
    for function in functions:
        assert gradcheck(function, x)


def test_backends_agree():
    x, transposed = leaf(3, 16, 12, 8), leaf(3, 12, 16, 8).transpose(1, 2)
    functions = [avgpool, *(lambda t, a=a: maxpool2d(t, *a) for a in POOLS.values())]
    functions += [lambda t, s=s: upsample(t, s, 0.5) for s in (1, 2, 3, -2, -4)]
    functions += [
        lambda t, r=r, f=f: f(t, 2, r)
        for r in (False, True)
        for f in (reorg, reorg3d)
        if not (f is reorg3d and r)
    ]
    for function in functions:
        assert_twins_agree(function, x)
        assert_twins_agree(function, transposed)
    assert_twins_agree(lambda t: reorg3d(t, 2, True), leaf(2, 16, 4, 4))


def test_avgpool_and_upsample_by_hand():
    x = torch.tensor([[[[1.0, 2], [3, 6]]]])
    assert avgpool(x).tolist() == [[[[3.0]]]]
    assert upsample(x, 2, 10.0)[0, 0].tolist() == [
        [10, 10, 20, 20], [10, 10, 20, 20], [30, 30, 60, 60], [30, 30, 60, 60]
    ]  # fmt: skip
    assert upsample(x, -2, 0.5).tolist() == [[[[6.0]]]]


def darknet_map(w, h, c, s):
    """Pairs (small index, large index) of one image, as the definition counts them."""
    for k, j, i in itertools.product(range(c), range(h), range(w)):
        channel, o = k % (c // s**2), k // (c // s**2)
        row, col = j * s + o // s, i * s + o % s
        yield i + w * (j + h * k), col + w * s * (row + h * s * channel)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("function", [reorg, reorg3d])
def test_reorg_equals_loop(function, reverse):
    x = torch.arange(2 * 16 * 4 * 6, dtype=torch.float32).view(2, 16, 4, 6)
    y = function(x, 2, reverse)
    c, h, w = y.shape[1:] if function is reorg3d else x.shape[1:]
    expected = torch.zeros(2, 16 * 4 * 6)
    for small, large in darknet_map(w, h, c, 2):
        to, source = (large, small) if reverse else (small, large)
        expected[:, to] = x.view(2, -1)[:, source]
    assert y.shape == ((2, 4, 8, 12) if reverse else (2, 64, 2, 3))
    assert torch.equal(y.view(2, -1), expected)


def test_reorg3d_is_space_to_depth():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    y = reorg3d(x, 2)
    assert y[0, :, 0, 0].tolist() == [0, 1, 4, 5] and y[0, 3].tolist() == [[5, 7], [13, 15]]


def test_empty_batch():
    x = leaf(0, 4, 6, 6)
    for function in (lambda t: maxpool2d(t, 2, 2), avgpool, lambda t: upsample(t, 2),
                     lambda t: upsample(t, -2), lambda t: reorg(t, 2)):  # fmt: skip
        y, grad = gradients(function, x)
        assert y.shape[0] == 0 and grad.shape == x.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: maxpool2d(x, 9, 1, 0), r"output would be \(1, 3, -2, -3\); x \(1, 3, 6, 5\)"),
        (lambda x: maxpool2d(x[0], 2, 2), r"needs 4 dimensions.*\(3, 6, 5\)"),
        (lambda x: maxpool2d(x, 0, 1), "size and stride must be at least 1"),
        (lambda x: upsample(x, 0), "must not be 0"),
        (lambda x: upsample(x, -2), r"stride -2 does not divide x \(1, 3, 6, 5\)"),
        (lambda x: avgpool(x[0]), "must be .n, c, h, w."),
        (lambda x: reorg(x, 2), r"stride 2 does not fit x \(1, 3, 6, 5\)"),
        (lambda x: reorg(x, 3, True), "must divide the channels"),
        (lambda x: reorg(x[:, :, :, :4], 2), "needs a multiple of 4 channels"),
        (lambda x: avgpool(x.int()), "float32 or float64"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ShapeError, match=message):
        call(torch.zeros(1, 3, 6, 5))

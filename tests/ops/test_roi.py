"""Regions of interest: against index loops, in float64, and both backends."""

import itertools
import math

import pytest
import torch
from torch.autograd import gradcheck

from tests.ops.oracle import assert_as_exact_as_torch, assert_twins_agree, cast, gradients
from yolo.ops import ShapeError, backend, roi_align, roi_pool

# image, left, top, right, bottom: inside, whole, over every edge, without area, far outside
REGIONS = torch.tensor(
    [
        [0, 0.1, 0.2, 0.7, 0.9],
        [1, 0.0, 0.0, 1.0, 1.0],
        [1, -0.3, -0.2, 0.4, 1.3],
        [0, 0.5, 0.5, 0.5, 0.5],
        [1, 1.5, 0.1, 1.9, 0.6],
        [0, 0.31, 0.62, 0.36, 0.66],
    ],
    dtype=torch.float64,
)
SIZES = {"3x2": (3, 2), "1x1": (1, 1), "7x7": (7, 7)}


def interpolated(plane, y, x):
    """Value between cell centres; what is off by more than a cell is 0."""
    h, w = plane.shape
    if y < -1 or y > h or x < -1 or x > w:
        return plane.new_zeros(())
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    top, left = min(int(y), max(h - 2, 0)), min(int(x), max(w - 2, 0))
    value = plane.new_zeros(())
    for row, col in itertools.product((top, min(top + 1, h - 1)), (left, min(left + 1, w - 1))):
        share = max(0.0, 1 - abs(y - row)) * max(0.0, 1 - abs(x - col))
        repeats = (1 + (top + 1 > h - 1)) * (1 + (left + 1 > w - 1))
        value = value + plane[row, col] * share / repeats
    return value


def align_loop(x, rois, size, samples):
    """Mask R-CNN's definition, one point after the other."""
    (p, q), (h, w) = size, x.shape[2:]
    regions = []
    for image, left, top, right, bottom in rois.tolist():
        bins = []
        for i, j in itertools.product(range(p), range(q)):
            points = []
            for a, b in itertools.product(range(samples), repeat=2):
                y = top * h + (i + (a + 0.5) / samples) * (bottom - top) * h / p - 0.5
                x_ = left * w + (j + (b + 0.5) / samples) * (right - left) * w / q - 0.5
                points.append(torch.stack([interpolated(c, y, x_) for c in x[int(image)]]))
            bins.append(torch.stack(points).mean(0))
        regions.append(torch.stack(bins, 1).view(-1, p, q))
    return torch.stack(regions)


def pool_loop(x, rois, size):
    """Fast R-CNN's definition (roi_pooling_layer of its authors), one bin after the other."""
    (p, q), (h, w) = size, x.shape[2:]
    regions = []
    for image, left, top, right, bottom in rois.tolist():
        row, col = math.floor(top * h + 0.5), math.floor(left * w + 0.5)
        height = max(math.floor(bottom * h + 0.5) - row + 1, 1)
        width = max(math.floor(right * w + 0.5) - col + 1, 1)
        bins = []
        for i, j in itertools.product(range(p), range(q)):
            rows = range(row + math.floor(i * height / p), row + math.ceil((i + 1) * height / p))
            cols = range(col + math.floor(j * width / q), col + math.ceil((j + 1) * width / q))
            cells = [(r, c) for r in rows for c in cols if 0 <= r < h and 0 <= c < w]
            channels = [
                torch.stack([plane[cell] for cell in cells]).max() if cells else plane.new_zeros(())
                for plane in x[int(image)]
            ]
            bins.append(torch.stack(channels))
        regions.append(torch.stack(bins, 1).view(-1, p, q))
    return torch.stack(regions)


def image(*shape):
    """Distinct values, so that a maximum has one place."""
    count = math.prod(shape)
    return (torch.randperm(count).double() / count - 0.5).view(shape).requires_grad_()


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_roi_align_equals_loop(size):
    several = (1, 2, 3) if math.prod(size) < 49 else (2,)  # the loop takes seconds
    for shape, samples in itertools.product(((2, 2, 6, 9), (2, 1, 1, 1)), several):
        x = image(*shape)
        ours = gradients(lambda t, s=samples: roi_align(t, REGIONS, size, s), x)
        truth = gradients(lambda t, s=samples: align_loop(t, REGIONS, size, s), x)
        torch.testing.assert_close(ours, truth, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_roi_pool_equals_loop(size):
    for shape in ((2, 3, 6, 9), (2, 1, 1, 1)):
        x = image(*shape)
        ours = gradients(lambda t: roi_pool(t, REGIONS, size), x)
        truth = gradients(lambda t: pool_loop(t, REGIONS, size), x)
        torch.testing.assert_close(ours, truth, rtol=0, atol=1e-12)


def test_derivatives_and_twins():
    x = image(2, 3, 5, 7)
    for function in (
        lambda t: roi_align(t, REGIONS, (2, 3)),
        lambda t: roi_pool(t, REGIONS, (2, 3)),
    ):
        assert gradcheck(function, x)
        assert_twins_agree(function, x)
        transposed = image(2, 5, 3, 7).detach().transpose(1, 2).requires_grad_()
        assert_twins_agree(function, transposed)


def test_float32_is_as_exact_as_torch():
    x = torch.randn(2, 5, 11, 13, dtype=torch.float64, requires_grad=True)

    def run(t):
        return roi_align(t, REGIONS.to(t.dtype), (5, 5))

    exact = gradients(run, x)
    (single,) = cast([x], torch.float32)
    ours = gradients(run, single)
    with backend("torch"):
        peer = gradients(run, single)
    assert_as_exact_as_torch(ours, peer, exact, floor=1e-6)


def test_by_hand():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    middle = torch.tensor([[0, 0.25, 0.25, 0.75, 0.75]])
    # centres of the four middle cells: 5, 6, 9, 10
    assert roi_align(x, middle, 2, 1).flatten().tolist() == [5, 6, 9, 10]
    assert roi_align(x, middle, 1, 2).item() == 7.5
    # cells 1..3 of each axis, both ends inclusive
    assert roi_pool(x, middle, 1).item() == 15
    assert roi_pool(x, middle, 3).flatten().tolist() == [5, 6, 7, 9, 10, 11, 13, 14, 15]


def test_equal_values_and_nan():
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    everything = torch.tensor([[0, 0.0, 0.0, 1.0, 1.0]])
    roi_pool(x, everything, 1).backward()
    assert x.grad.flatten().tolist() == [1] + 15 * [0]
    holed = torch.zeros(1, 1, 4, 4)
    holed[0, 0, 1, 1] = float("nan")
    assert roi_pool(holed, everything, 1).isnan() and roi_align(holed, everything, 1).isnan()


def test_regions_of_no_image_give_nothing():
    x = torch.ones(1, 2, 3, 3, requires_grad=True)
    nan = float("nan")
    nowhere = torch.tensor(
        [[-1, 0, 0, 1, 1], [1, 0, 0, 1, 1], [nan, 0, 0, 1, 1], [0, 1e30, 0, 2e30, 1]]
    )
    for function in (roi_align, roi_pool):
        y = function(x, nowhere, 2)
        assert not y.any()
        (grad,) = torch.autograd.grad(y.sum(), x)
        assert not grad.any()
    assert not roi_align(x, torch.tensor([[0, nan, 0, 1, 1]]), 2).any()
    assert roi_pool(x, torch.tensor([[0, nan, nan, nan, nan]]), 2).shape == (1, 2, 2, 2)


def test_no_region():
    x = torch.ones(2, 3, 4, 4, requires_grad=True)
    for function, name in itertools.product((roi_align, roi_pool), ("native", "torch")):
        with backend(name):
            y, grad = gradients(lambda t, f=function: f(t, torch.zeros(0, 5), 2), x)
        assert y.shape == (0, 3, 2, 2) and not grad.any()


def test_the_result_does_not_depend_on_threads(with_threads):
    x, rois = torch.randn(2, 7, 9, 9), REGIONS.float().repeat(9, 1)
    results = []
    for count in (1, 3):
        with_threads(count)
        for function in (roi_align, roi_pool):
            leaf = x.clone().requires_grad_()
            y = function(leaf, rois, 3)
            y.square().sum().backward()
            results.append((y.detach(), leaf.grad))
    for one, three in zip(results[:2], results[2:], strict=True):
        assert torch.equal(one[0], three[0]) and torch.equal(one[1], three[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, r: roi_align(x[0], r, 2), r"needs x \(n, c, h, w\).*\(3, 4, 4\) and \(6, 5\)"),
        (lambda x, r: roi_pool(x, r[:, :4], 2), r"rois \(r, 5\), got .*\(6, 4\)"),
        (lambda x, r: roi_pool(x[:, :, :0], r, 2), r"\(2, 3, 0, 4\)"),
        (lambda x, r: roi_align(x, r, 0), "size must be at least 1"),
        (lambda x, r: roi_align(x, r, 2, 0), "samples must be at least 1"),
        (lambda x, r: roi_align(x.half(), r, 2), "16 bits are for CUDA"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ShapeError, match=message):
        call(torch.zeros(2, 3, 4, 4), REGIONS)

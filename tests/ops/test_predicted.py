"""What losses ask about predicted boxes: against loops, in both types, and both backends."""

import math

import pytest
import torch

from yolo.ops import ShapeError, backend, best_overlap, highest, no_deltas

CELLS = 131  # more than the kernel takes at a time


def scalar_iou(a, b):
    """Of two boxes x, y, w, h."""
    if not all(map(math.isfinite, a)):
        return 0.0
    sides = []
    for axis in (0, 1):
        low = max(a[axis] - a[axis + 2] / 2, b[axis] - b[axis + 2] / 2)
        high = min(a[axis] + a[axis + 2] / 2, b[axis] + b[axis + 2] / 2)
        sides.append(max(0.0, high - low))
    inter = sides[0] * sides[1]
    union = a[2] * a[3] + b[2] * b[3] - inter
    return inter / union if union else 0.0


@pytest.fixture
def boxes():
    generator = torch.Generator().manual_seed(1)
    found = torch.rand(2, 3, 4, CELLS, dtype=torch.float64, generator=generator)
    found[0, 0, 2, 5] = found[1, 2, 0, 130] = math.inf
    found[0, 1, 3, 7] = math.nan
    found[1, 1, 2:, 3] = 0
    return found


@pytest.fixture
def truths():
    found = torch.rand(2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found[1, 2:] = 0  # slots without a truth
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["native", "torch"])
@pytest.mark.parametrize("threads", [1, 3])
def test_best_overlap(boxes, truths, dtype, name, threads, with_threads):
    with_threads(threads)
    with backend(name):
        got = best_overlap(boxes.to(dtype), truths.to(dtype))
    assert got.dtype == dtype and got.shape == (2, 3, CELLS)
    for image in range(2):
        for group in range(3):
            each = boxes[image, group].to(dtype).double().T.tolist()
            others = truths[image].to(dtype).double().tolist()
            want = [max(scalar_iou(a, b) for b in others) for a in each]
            want = torch.tensor(want, dtype=dtype)
            torch.testing.assert_close(got[image, group], want, rtol=1e-5, atol=1e-6)


def test_boxes_and_truths_must_fit(boxes, truths):
    with pytest.raises(ShapeError, match="2 images, truths of 1"):
        best_overlap(boxes, truths[:1])
    with pytest.raises(ShapeError, match="needs boxes"):
        best_overlap(boxes[:, :, :3], truths)
    with pytest.raises(ShapeError, match="share one type"):
        best_overlap(boxes, truths.float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_highest(dtype):
    whole = torch.randn(2, 3, 9, 70, dtype=dtype, generator=torch.Generator().manual_seed(3))
    whole[0, 1, 6, 4], whole[1, 2, 8, 69] = math.nan, math.inf
    for x in (whole[:, :, 4:], whole[:, 1:, 4:], whole[:, :, 8:], whole.transpose(2, 3)):
        torch.testing.assert_close(highest(x), x.amax(2), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_deltas_is_zero_in_memory_used_before(dtype):
    like = torch.ones((), dtype=dtype)
    for _ in range(2):
        found = no_deltas(like, 3, 50, 1000)
        assert found.dtype == dtype and found.shape == (3, 50, 1000) and not found.any()
        found.fill_(math.nan)
        del found

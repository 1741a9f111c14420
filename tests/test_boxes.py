"""Boxes: forms, similarities by hand and by brute force, suppression against plain loops."""

from math import atan, log, pi

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from yolo.boxes import (
    NMS_KINDS,
    ciou,
    diou,
    giou,
    iou,
    iou_matrix,
    moved,
    nms,
    nms_order,
    offsets,
    xywh_to_xyxy,
    xyxy_to_xywh,
)

SIMILARITIES = (iou, giou, diou, ciou)


def random_boxes(count, dtype=torch.float32):
    return torch.rand(count, 4, dtype=dtype) * torch.tensor([1, 1, 0.4, 0.4], dtype=dtype) + 0.01


def test_forms():
    xywh = torch.tensor([[0.5, 0.25, 0.2, 0.1]])
    assert_close(xywh_to_xyxy(xywh), torch.tensor([[0.4, 0.2, 0.6, 0.3]]))
    boxes = random_boxes(50)
    assert_close(xyxy_to_xywh(xywh_to_xyxy(boxes)), boxes)
    assert xywh_to_xyxy(torch.zeros(0, 4)).shape == (0, 4)


def test_similarities_by_hand():
    """Two squares of side 2, one moved by 1 in x and y: 1 in common, 7 together, hull of side 3."""
    a, b = torch.tensor([1.0, 1.0, 2.0, 2.0]), torch.tensor([2.0, 2.0, 2.0, 2.0])
    assert_close(iou(a, b).item(), 1 / 7)
    assert_close(giou(a, b).item(), 1 / 7 - 2 / 9)
    assert_close(diou(a, b).item(), 1 / 7 - (2 / 18) ** 0.6)
    assert_close(diou(a, b, beta=1).item(), 1 / 7 - 2 / 18)
    assert_close(ciou(a, b).item(), 1 / 7 - 2 / 18)


def test_ciou_adds_the_difference_of_shapes():
    a, b = torch.tensor([0.0, 0.0, 4.0, 1.0]), torch.tensor([0.0, 0.0, 2.0, 2.0])
    overlap = 2 / 6
    v = 4 / pi**2 * (atan(4) - atan(1)) ** 2
    assert_close(ciou(a, b).item(), overlap - v * v / (1 - overlap + v + 1e-6))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_degenerate_pairs(similarity):
    point, other, box = (torch.tensor(v) for v in ([0.0] * 4, [1.0, 1, 0, 0], [0.0, 0, 2, 2]))
    for a, b in ((point, point), (point, other), (point, box), (box, point)):
        assert similarity(a, b).isfinite()
    assert_close(similarity(point, point).item(), 0.0)
    assert_close(similarity(box, box).item(), 1.0)


def test_boxes_that_only_touch_do_not_overlap():
    assert iou(torch.tensor([1.0, 1, 2, 2]), torch.tensor([3.0, 1, 2, 2])) == 0


def test_iou_counts_cells():
    """On whole coordinates the areas can be counted."""
    corners = torch.randint(0, 12, (60, 2, 2)).sort(1).values
    grid = torch.zeros(60, 12, 12, dtype=torch.bool)
    for cells, (low, high) in zip(grid, corners, strict=True):
        cells[low[1] : high[1], low[0] : high[0]] = True
    inter = (grid[:, None] & grid[None]).sum((2, 3))
    union = (grid[:, None] | grid[None]).sum((2, 3))
    want = inter / union.clamp(min=1)
    boxes = corners.flatten(1).float()
    assert_close(iou_matrix(boxes, boxes), want)
    boxes = xyxy_to_xywh(boxes)
    assert_close(iou(boxes[:, None], boxes[None]), want)


def test_iou_matrix_takes_batches():
    a, b = random_boxes(12).view(2, 6, 4), random_boxes(8).view(2, 4, 4)
    want = torch.stack([iou_matrix(x, y) for x, y in zip(a, b, strict=True)])
    assert_close(iou_matrix(a, b), want)
    assert iou_matrix(a, b[:, :0]).shape == (2, 6, 0)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_similarities_are_symmetric_and_at_most_1(similarity):
    a, b = random_boxes(500, torch.float64), random_boxes(500, torch.float64)
    assert_close(similarity(a, b), similarity(b, a))
    assert (similarity(a, b) <= iou(a, b) + 1e-12).all()
    assert (similarity(a, b) > -2).all()


def plain_nms(boxes, probs, thresh, kind, beta):
    """The same, by one sort of one list after another and a double loop."""
    similar = {"default": iou, "cornersnms": iou, "greedynms": diou}.get(
        kind, lambda a, b: diou(a, b, beta)
    )
    boxes, probs = list(boxes), [list(p) for p in probs.tolist()]
    order = list(range(len(boxes)))
    for k in range(len(probs[0]) if probs else 0):
        order.sort(key=lambda i: -probs[i][k])
        for first, i in enumerate(order):
            if probs[i][k] == 0:
                continue
            for j in order[first + 1 :]:
                if similar(boxes[i], boxes[j]) > thresh:
                    probs[j][k] = 0.0
    return torch.tensor(probs)


@pytest.mark.parametrize("kind", NMS_KINDS)
@pytest.mark.parametrize("density", [0.1, 0.6, 1.0])
def test_nms_agrees_with_plain_loops(kind, density):
    boxes = random_boxes(40) * torch.tensor([0.4, 0.4, 1, 1])
    probs = torch.rand(40, 3) * (torch.rand(40, 3) < density)
    got = nms(boxes, probs, 0.3, kind, beta=0.8)
    want = plain_nms(boxes, probs, 0.3, kind, 0.8)
    assert torch.equal(got, want)
    assert density == 0.1 or not torch.equal(got, probs)


def test_nms_by_hand():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.52, 0.5, 0.2, 0.2], [0.9, 0.9, 0.1, 0.1]])
    probs = torch.tensor([[0.6, 0.0], [0.7, 0.3], [0.5, 0.9]])
    want = torch.tensor([[0.0, 0.0], [0.7, 0.3], [0.5, 0.9]])
    assert torch.equal(nms(boxes, probs, 0.45), want)
    assert torch.equal(probs[0], torch.tensor([0.6, 0.0])), "the argument stays as it was"


def test_a_silenced_box_silences_nobody():
    x = torch.tensor([0.0, 0.6, 1.2])
    boxes = torch.stack((x, x * 0, x * 0 + 1.8, x * 0 + 1), 1)
    probs = torch.tensor([[0.9], [0.8], [0.7]])
    assert torch.equal(nms(boxes, probs, 0.4), torch.tensor([[0.9], [0.0], [0.7]]))


def test_the_threshold_itself_is_not_exceeded():
    boxes = torch.tensor([[0.0, 0, 1, 1], [0.0, 0, 1, 0.5]])
    assert nms(boxes, torch.tensor([[0.9], [0.8]]), 0.5).count_nonzero() == 2


def test_boxes_without_objectness_take_no_part():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2]] * 3)
    probs = torch.tensor([[0.9], [0.8], [0.7]])
    got = nms(boxes, probs, 0.5, objectness=torch.tensor([0.0, 0.8, 0.7]))
    assert torch.equal(got, torch.tensor([[0.9], [0.8], [0.0]]))


def test_nms_of_nothing():
    assert nms(torch.zeros(0, 4), torch.zeros(0, 3), 0.45).shape == (0, 3)
    assert len(nms_order(torch.zeros(0, 3))) == 0
    assert nms(torch.rand(1, 4), torch.rand(1, 0), 0.45).shape == (1, 0)


def test_nms_refuses_in_words():
    with pytest.raises(ValueError, match=r"boxes \(3, 4\) and probs \(2, 1\)"):
        nms(torch.zeros(3, 4), torch.zeros(2, 1), 0.5)
    with pytest.raises(ValueError, match="got 'soft'"):
        nms(torch.zeros(3, 4), torch.zeros(3, 1), 0.5, kind="soft")


def test_order_is_that_of_sorting_by_one_class_after_another():
    probs = torch.randint(0, 3, (30, 4)).float()
    order = list(range(30))
    for k in range(4):
        order.sort(key=lambda i: -probs[i, k].item())
    assert nms_order(probs).tolist() == order


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 25), st.integers(1, 4), st.floats(0, 1), st.integers(0, 10**6))
def test_what_nms_leaves_is_apart(count, classes, thresh, seed):
    rng = np.random.default_rng(seed)
    boxes = torch.from_numpy(rng.random((count, 4), np.float32))
    probs = torch.from_numpy(rng.random((count, classes), np.float32))
    left = nms(boxes, probs, thresh)
    close = iou(boxes[:, None], boxes[None]) > thresh
    close.fill_diagonal_(False)
    for k in range(classes):
        kept = left[:, k] > 0
        assert not (close & kept[:, None] & kept[None]).any()
        # and what is gone was close to something better that stays
        better = probs[:, None, k] >= probs[None, :, k]
        gone = (probs[:, k] > 0) & ~kept
        assert (close & kept[:, None] & better).any(0)[gone].all()


def test_nms_of_2000_boxes_and_80_classes_is_quick():
    """A second is 50 times what it takes; loops over pairs would take minutes."""
    import time

    boxes = random_boxes(2000)
    probs = torch.rand(2000, 80) * (torch.rand(2000, 80) < 0.03)
    start = time.perf_counter()
    nms(boxes, probs, 0.45)
    assert time.perf_counter() - start < 1


def test_offsets_by_hand_and_back():
    anchor = torch.tensor([0.5, 0.5, 0.2, 0.4])
    box = torch.tensor([0.6, 0.3, 0.4, 0.2])
    expected = torch.tensor([0.5, -0.5, log(2), -log(2)])
    assert_close(offsets(anchor, box), expected)
    anchors, boxes = random_boxes(50), random_boxes(50)
    assert_close(moved(anchors, offsets(anchors, boxes)), boxes, rtol=1e-4, atol=1e-5)
    assert moved(anchor, torch.tensor([0.0, 0, 1e9, 1e9])).isfinite().all()  # stretched 62 times

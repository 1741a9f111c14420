"""The [yolo] loss against a scalar one, worked examples, derivatives, and Darknet's own numbers."""

import itertools
from math import exp, log

import pytest
import torch
from torch.testing import assert_close

from tests.loss.cases import ANCHORS, choose, head, random_boxes, state
from tests.loss.scalar import Scalar
from yolo import boxes as boxes_of
from yolo.loss.box_delta import iou_gradient, mse_delta
from yolo.loss.yolo import loss


def Head(**keys):
    """A [yolo] layer with these attributes, else with the defaults of a cfg."""
    return head("yolo", **({"anchors": ANCHORS, "num": 6, "mask": [0, 1, 2]} | keys))


def random_keys():
    """A random combination of everything a cfg may say."""
    classes = choose([1, 2, 4])
    mask = choose([[0, 1, 2], [3, 4, 5], [1, 4], [5], [2, 0]])
    return dict(
        classes=classes,
        mask=mask,
        ignore_thresh=choose([0.05, 0.3, 0.7]),
        truth_thresh=choose([1.0, 1.0, 0.2]),
        iou_thresh=choose([1.0, 0.213, 0.5]),
        iou_loss=choose(["mse", "iou", "giou", "diou", "ciou"]),
        iou_thresh_kind=choose(["iou", "giou", "diou", "ciou"]),
        iou_normalizer=choose([0.75, 0.07]),
        obj_normalizer=choose([1.0, 0.4]),
        cls_normalizer=choose([1.0, 0.5]),
        delta_normalizer=choose([1.0, 0.3]),
        scale_x_y=choose([1.0, 1.05, 2.0]),
        objectness_smooth=choose([False, True]),
        new_coords=choose([False, True]),
        max_delta=choose([None, 5.0, 0.02]),
        label_smooth_eps=choose([0.0, 0.1]),
        focal_loss=choose([False, False, True]),
        counters_per_class=choose([None, [7, 0, 31, 2][:classes]]),
        show_details=choose([True, True, False]),
        map=choose([None, [3, 2, 1, 0][-classes:]]),
        max=choose([200, 4]),
    )


def random_input(head, images, rows, cols):
    x = torch.randn(images, len(head.mask) * (5 + head.classes), rows, cols, dtype=torch.float64)
    if head.new_coords:
        x = x.sigmoid()
    # Probabilities of exactly 0 and 1: a delta of exactly 0 means "not yet assigned".
    low, high = (0.0, 1.0) if head.new_coords else (-800.0, 800.0)
    scores = x.unflatten(1, (len(head.mask), -1))[:, :, 4:]
    chance = torch.rand_like(scores)
    scores[chance < 0.1] = low
    scores[chance > 0.95] = high
    return x


def compare(head, x, boxes, equal_nan=False, **more):
    where = state(**more)
    got = loss(head, x, boxes, where)
    want = Scalar(head, x.tolist(), boxes.tolist(), where.height, where.width, **more).run()
    close = dict(rtol=1e-5, atol=1e-7, equal_nan=equal_nan)
    assert_close(got.delta, torch.tensor(want.delta, dtype=x.dtype), **close)
    assert_close(got.cost, want.cost, **close)
    for name, value in want.terms.items():
        assert_close(float(got.terms[name]), float(value), **close, msg=name)
    for name, value in want.averages.items():
        assert_close(float(getattr(got.averages, name)), float(value), **close, msg=name)
    return got


@pytest.mark.parametrize("seed", range(120))
def test_any_combination_of_keys_agrees_with_the_scalar_loss(seed):
    torch.manual_seed(seed)
    head = Head(**random_keys())
    images, rows, cols = choose([(2, 3, 3), (3, 2, 4), (1, 4, 3)])
    x = random_input(head, images, rows, cols)
    boxes = random_boxes(images, head.classes, choose([1, 6, 12]))
    compare(head, x, boxes)


@pytest.mark.parametrize("iou_loss", ["mse", "ciou"])
@pytest.mark.parametrize("new_coords", [False, True])
def test_keys_that_wait_for_one_another_agree_in_crowded_cells(iou_loss, new_coords):
    flags = itertools.product([False, True], [False, True], [None, [5, 1, 9]], [0.0, 0.2], [0.3, 1])
    for smooth, focal, counters, eps, iou_thresh in flags:
        head = Head(
            iou_loss=iou_loss,
            new_coords=new_coords,
            objectness_smooth=smooth,
            focal_loss=focal,
            counters_per_class=counters,
            label_smooth_eps=eps,
            iou_thresh=iou_thresh,
        )
        boxes = random_boxes(2, 3, 9)
        boxes[:, 2:4] = boxes[:, 2:4] * 0.3 + 0.2
        compare(head, random_input(head, 2, 2, 2), boxes)


@pytest.mark.parametrize("truth_thresh", [1.0, 0.3])
def test_adversarial_pass(truth_thresh):
    head = Head(truth_thresh=truth_thresh, iou_thresh=0.3)
    x = random_input(head, 2, 3, 3)
    compare(head, x, random_boxes(2, 3, 5), adversarial=True)
    compare(head, x, torch.zeros(0, 6), adversarial=True)


def test_images_without_objects():
    head = Head()
    x = torch.randn(2, 24, 3, 3, requires_grad=True)
    got = loss(head, x, torch.zeros(0, 6), state())
    objectness = x.detach().unflatten(1, (3, 8))[:, :, 4].sigmoid()
    want = torch.zeros(2, 3, 8, 3, 3)
    want[:, :, 4] = -objectness
    assert_close(got.delta, want.flatten(1, 2))
    assert_close(got.cost, float((objectness**2).sum()))
    assert str(got.averages).startswith("objects 0  iou -  obj -  no-obj 0.")
    got.total.backward()
    assert_close(x.grad, -got.delta)


def test_worked_example():
    """One cell, one anchor of 16 x 32 pixels in a 64 x 64 input, two classes."""
    head = Head(classes=2, num=1, mask=[0], anchors=[(16, 32)], iou_normalizer=1.0)
    raw = [0.0, log(3), 0.1, -0.2, log(4), 0.0, -log(3)]
    x = torch.tensor(raw).view(1, 7, 1, 1)
    boxes = torch.tensor([[0, 1, 0.6, 0.5, 0.5, 0.25]])
    got = loss(head, x, boxes, state())
    small = 2 - 0.5 * 0.25
    want = [
        small * (0.6 - 0.5),
        small * (0.5 - 0.75),
        small * (log(0.5 * 64 / 16) - 0.1),
        small * (log(0.25 * 64 / 32) + 0.2),
        1 - 0.8,
        0 - 0.5,
        1 - 0.25,
    ]
    assert_close(got.delta.flatten(), torch.tensor(want))
    assert_close(got.cost, sum(v * v for v in want), rtol=1e-5, atol=0)
    assert_close(got.terms["class_loss"], 0.2**2 + 0.5**2 + 0.75**2, rtol=1e-5, atol=0)
    # The predicted box has its centre at .5, .75; the truth lies from .35, .375 to .85, .625 and
    # holds its whole width.
    w, h = 0.25 * exp(0.1), 0.5 * exp(-0.2)
    inter = w * (0.625 - (0.75 - h / 2))
    assert_close(got.averages.iou, inter / (w * h + 0.125 - inter), rtol=1e-5, atol=0)


def test_a_second_object_in_a_cell_adds_its_class_and_its_box():
    head = Head(classes=3, num=1, mask=[0], anchors=[(32, 32)], iou_normalizer=1.0)
    x = torch.zeros(1, 8, 1, 1)
    first, second = [0, 0, 0.5, 0.5, 0.5, 0.5], [0, 2, 0.25, 0.5, 0.5, 0.5]
    got = loss(head, x, torch.tensor([first, second]), state()).delta.flatten()
    assert_close(got, torch.tensor([-0.25 * 1.75, 0, 0, 0, 0.5, 0.5, -0.5, 0.5]))
    head.iou_thresh = 0.9
    got = loss(head, x, torch.tensor([first, second]), state()).delta.flatten()
    assert_close(got[0], torch.tensor(-0.25 * 1.75 / 2))


def test_order_of_images_in_boxes_does_not_matter():
    head, x = Head(), torch.randn(3, 24, 4, 4)
    boxes = random_boxes(3, 3, 12)
    by_image = boxes[boxes[:, 0].argsort(stable=True)]
    mixed, sorted_ = (loss(head, x, rows, state()).delta for rows in (boxes, by_image))
    assert torch.equal(mixed, sorted_)


def test_broken_objectness_counts_as_zero_where_there_are_objects():
    head = Head()
    x = random_input(head, 2, 3, 3)
    x[0, 4, 0, 0], x[0, 12, 1, 1], x[0, 6, 1, 1] = torch.nan, torch.inf, torch.nan
    boxes = torch.tensor([[0, 1, 0.5, 0.5, 0.4, 0.4]])
    assert torch.isfinite(compare(head, x, boxes).delta).all()
    x[1, 4, 0, 0] = torch.nan  # an image without objects shows it
    assert loss(head, x, boxes, state()).cost != loss(head, x, boxes, state()).cost


def test_broken_boxes_overlap_nothing():
    head = Head(iou_loss="ciou")
    x = random_input(head, 1, 3, 3)
    x[0, 2] = 1e4  # exp overflows
    x[0, 8] = torch.nan
    boxes = torch.tensor([[0, 1, 0.5, 0.5, 0.15, 0.2], [0, 1, 0.2, 0.5, 0.4, 0.4]])
    assert torch.isfinite(loss(head, x, boxes, state()).delta).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_get_deltas_of_their_own_type(dtype):
    head, boxes = Head(), random_boxes(2, 3, 6)
    x = torch.randn(2, 24, 4, 4).to(dtype)
    half, full = loss(head, x, boxes, state()), loss(head, x.float(), boxes, state())
    assert_close(half.cost, full.cost)
    leaf = x.clone().requires_grad_()
    loss(head, leaf, boxes, state()).total.backward()
    assert leaf.grad.dtype == dtype
    assert_close(leaf.grad, -full.delta.to(dtype))


def test_total_carries_its_factor_back():
    head, x = Head(), torch.randn(1, 24, 3, 3, requires_grad=True)
    got = loss(head, x, random_boxes(1, 3, 3), state())
    (3 * got.total).backward()
    assert_close(x.grad, -3 * got.delta)


def test_labels_beyond_the_map_are_left_out():
    head, x = Head(map=[2, 0]), torch.randn(1, 24, 3, 3)
    boxes = torch.tensor([[0, 1, 0.3, 0.3, 0.2, 0.2], [0, 2, 0.8, 0.8, 0.2, 0.2]])
    got = loss(head, x, boxes, state())
    moved = boxes[:1] * torch.tensor([1, 0, 1, 1, 1, 1])
    want = loss(Head(), x, moved, state())
    assert got.terms["left_out"] == 1 and torch.equal(got.delta, want.delta)


def test_refusals_say_what_is_wrong():
    head, x = Head(), torch.randn(2, 24, 3, 3)
    with pytest.raises(ValueError, match=r"\(N, 6\).*got \(4, 5\)"):
        loss(head, x, torch.zeros(4, 5), state())
    with pytest.raises(ValueError, match="images 0 to 2, the mini-batch has 2"):
        loss(head, x, torch.tensor([[0.0] * 6, [2.0] * 6]), state())


# Deltas against derivatives


def difference(function, box, step=1e-6):
    """Central differences of a function of boxes (m, 4), by each of the four numbers."""
    slopes = []
    for e in range(4):
        move = torch.zeros(4, dtype=box.dtype)
        move[e] = step
        slopes.append((function(box + move) - function(box - move)) / (2 * step))
    return torch.stack(slopes, 1)


def overlapping_pairs(count):
    truth = torch.rand(count, 4, dtype=torch.float64) * 0.3 + 0.3
    return truth + (torch.rand_like(truth) - 0.5) * 0.25, truth


@pytest.mark.parametrize("kind", ["iou", "giou"])
def test_iou_deltas_climb_the_similarity(kind):
    """By x and y the derivative itself, by w and h twice of it."""
    predicted, truth = overlapping_pairs(200)
    similarity = getattr(boxes_of, kind)
    slope = difference(lambda p: similarity(p, truth), predicted)
    slope[:, 2:] *= 2
    assert_close(iou_gradient(kind, predicted, truth), slope, rtol=1e-5, atol=1e-6)


def test_distance_and_aspect_parts_where_they_are_derivatives():
    """diou adds to w and h the derivative of the distance part; ciou leaves x and y alone."""
    predicted, truth = overlapping_pairs(200)

    def distance(p):
        low, high = p[:, :2] - p[:, 2:] / 2, p[:, :2] + p[:, 2:] / 2
        low_t, high_t = truth[:, :2] - truth[:, 2:] / 2, truth[:, :2] + truth[:, 2:] / 2
        hull = torch.maximum(high, high_t) - torch.minimum(low, low_t)
        return -((p - truth)[:, :2] ** 2).sum(1) / (hull**2).sum(1)

    plain, diou, ciou = (iou_gradient(k, predicted, truth) for k in ("iou", "diou", "ciou"))
    slope = difference(distance, predicted)
    assert_close((diou - plain)[:, 2:], slope[:, 2:], rtol=1e-4, atol=1e-6)
    assert_close(ciou[:, :2], diou[:, :2])
    # Aspect: w and h move in opposite directions, towards the shape of the truth.
    aspect = (ciou - diou)[:, 2:]
    slimmer = truth[:, 2] / truth[:, 3] > predicted[:, 2] / predicted[:, 3]
    assert torch.equal(aspect[:, 0] > 0, slimmer) and torch.equal(aspect[:, 1] < 0, slimmer)


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_boxes_that_do_not_meet_are_pulled_together(kind):
    predicted = torch.tensor([[0.2, 0.2, 0.1, 0.1]])
    truth = torch.tensor([[0.7, 0.6, 0.2, 0.1]])
    assert (iou_gradient(kind, predicted, truth)[0, :2] > 0).all()


def test_mse_deltas_are_the_derivative_of_half_the_weighted_square():
    value = torch.rand(20, 4, dtype=torch.float64)
    truth, corner = torch.rand(20, 4, dtype=torch.float64) + 0.1, torch.ones(20, 2)
    anchor = torch.full((20, 2), 0.3, dtype=torch.float64)
    cells = torch.tensor([4.0, 4.0])
    target = torch.cat((truth[:, :2] * cells - corner, (truth[:, 2:] / 0.3).log()), 1)
    weight = 2 - truth[:, 2] * truth[:, 3]

    def downhill(v):
        return -0.5 * weight * ((target - v) ** 2).sum(1)

    got = mse_delta(value, truth, corner, (4, 4), anchor, False)
    assert_close(got, difference(downhill, value), rtol=1e-6, atol=1e-7)


def test_class_and_objectness_deltas_are_those_of_cross_entropy():
    head, boxes = (
        Head(num=1, mask=[0], anchors=[(30, 30)]),
        torch.tensor([[0, 2, 0.5, 0.5, 0.5, 0.5]]),
    )
    x = torch.randn(1, 8, 1, 1, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([1.0, 0, 0, 1], dtype=torch.float64)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        x[0, 4:, 0, 0], target, reduction="sum"
    )
    (slope,) = torch.autograd.grad(entropy, x)
    assert_close(loss(head, x, boxes, state()).delta[0, 4:], -slope[0, 4:])

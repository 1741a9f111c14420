"""[fast_rcnn]: its loss against a plain PyTorch one in float64, region by region."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from tests.loss.cases import state
from yolo.cfg import parse
from yolo.network import Network

CLASSES, STATE = 3, state()
TEXT = """
[net]
channels=1
width=32
height=32
[conv]
filters=5
[rpn]
anchors=8,8
[roi_pool]
features=0
rois=1
width=2
height=2
[connected]
output=16
[fast_rcnn]
rois=1
classes=3
"""
TRUTHS = torch.tensor(
    [
        [0, 2, 0.30, 0.40, 0.20, 0.30],
        [0, 0, 0.35, 0.42, 0.20, 0.30],
        [1, 1, 0.70, 0.60, 0.25, 0.20],
    ],
    dtype=torch.float64,
)
# image, left, top, right, bottom
ROIS = torch.tensor(
    [
        [0, 0.20, 0.25, 0.40, 0.55],  # the first truth
        [0, 0.24, 0.26, 0.44, 0.57],  # nearer to the second
        [0, 0.60, 0.60, 0.90, 0.90],  # no truth there
        [0, 0.00, 0.00, 0.00, 0.00],  # fills up the list
        [0, 0.20, 0.25, 0.30, 0.50],  # overlaps by a third to a half
        [1, 0.55, 0.50, 0.80, 0.68],
        [1, 0.05, 0.05, 0.15, 0.10],
        [2, 0.10, 0.10, 0.50, 0.50],  # an image without truths
    ],
    dtype=torch.float64,
)[:, :, None, None]


def head(keys=""):
    return Network(parse(TEXT + keys, "test.cfg")).layers[-1]


def overlap(roi, x, y, w, h):
    """IoU of a region with a truth."""
    left, top, right, bottom = roi
    width = max(0.0, min(right, x + w / 2) - max(left, x - w / 2))
    height = max(0.0, min(bottom, y + h / 2) - max(top, y - h / 2))
    inter = width * height
    return inter / ((right - left) * (bottom - top) + w * h - inter)


def plain(value, lowest=0.0, sigma=1.0, std=(0.1, 0.1, 0.2, 0.2)):
    """(sum of the class losses, of the box losses): of each image the mean over its regions."""
    class_loss = box_loss = value.new_zeros(())
    for image in range(3):
        terms, boxes = [], []
        for row, roi in enumerate(ROIS.flatten(1).tolist()):
            left, top, right, bottom = roi[1:]
            if roi[0] != image or right <= left:
                continue
            own = [t.tolist() for t in TRUTHS if t[0] == image]
            found = [overlap(roi[1:], *t[2:]) for t in own]
            best = max(found, default=0.0)
            scores, offsets = value[row, :4], value[row, 4:].view(CLASSES, 4)
            if best >= 0.5:
                _, label, x, y, w, h = own[found.index(best)]
                wide, high = right - left, bottom - top
                wanted = [
                    (x - (left + right) / 2) / wide, (y - (top + bottom) / 2) / high,
                    math.log(w / wide), math.log(h / high),
                ]  # fmt: skip
                wanted = torch.tensor([v / s for v, s in zip(wanted, std, strict=True)]).to(value)
                terms.append(F.cross_entropy(scores, torch.tensor(int(label))))
                smooth = {"reduction": "sum", "beta": 1 / sigma**2}
                boxes.append(F.smooth_l1_loss(offsets[int(label)], wanted, **smooth))
            elif best >= lowest:
                terms.append(F.cross_entropy(scores, torch.tensor(CLASSES)))
        if terms:
            class_loss = class_loss + sum(terms) / len(terms)
            box_loss = box_loss + sum(boxes) / len(terms)
    return class_loss, box_loss


def values():
    return torch.randn(len(ROIS), 16, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("lowest", [0.0, 0.1])
def test_equals_the_plain_loss(lowest):
    layer, x = head(f"negative_lowest={lowest}\nsigma=1.5\nbox_std=.2,.1,.3,.2"), values()
    found = layer.loss(x[:, :, None, None], ROIS, TRUTHS, STATE)
    wanted = plain(x, lowest, 1.5, (0.2, 0.1, 0.3, 0.2))
    assert found.terms["class_loss"] == pytest.approx(wanted[0].item(), rel=1e-5)
    assert found.terms["box_loss"] == pytest.approx(wanted[1].item(), rel=1e-5)
    assert found.cost == pytest.approx(sum(wanted).item(), rel=1e-5)
    (ours,) = torch.autograd.grad(found.total, x)
    (theirs,) = torch.autograd.grad(sum(wanted), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)
    assert found.delta.shape == (8, 16, 1, 1) and not found.delta[3].any()


def test_normalizers_weigh_the_parts():
    x = values()[:, :, None, None]
    plain = head().loss(x, ROIS, TRUTHS, STATE).terms
    weighed = head("class_normalizer=2\nbox_normalizer=3").loss(x, ROIS, TRUTHS, STATE).terms
    assert weighed["class_loss"] == pytest.approx(2 * plain["class_loss"])
    assert weighed["box_loss"] == pytest.approx(3 * plain["box_loss"])


def test_gradcheck():
    layer = head()
    x = values().detach()[:, :, None, None].requires_grad_()
    assert gradcheck(lambda t: layer.loss(t, ROIS, TRUTHS, STATE).total, x)


def test_what_training_shows():
    layer, x = head(), values()[:, :, None, None]
    found = layer.loss(x, ROIS, TRUTHS, STATE).averages
    assert (found.images, found.objects, found.positives, found.judged) == (3, 3, 3, 7)
    columns = (found + found).columns()
    assert columns["positives"] == 1 and columns["objects"] == 6
    assert columns["class-loss"] == pytest.approx(found.class_loss / 3)
    assert "box-loss" in str(found)
    assert layer.averages().columns()["right"] is None
    assert str(layer.averages()).startswith("objects 0  positives -")


def test_regions_get_no_gradient():
    layer, x = head(), values()[:, :, None, None]
    rois = ROIS.clone().requires_grad_()
    layer.loss(x, rois, TRUTHS, STATE).total.backward()
    assert rois.grad is None


def test_classes_that_the_head_does_not_have_are_left_out():
    """As in every head: a label beyond `classes` is no truth."""
    layer, x = head(), values()[:, :, None, None]
    odd = TRUTHS.clone()
    odd[2, 1] = 7
    found = layer.loss(x, ROIS, odd, STATE).averages
    assert (found.objects, found.positives) == (2, 2)

"""[fast_rcnn]: probabilities and boxes of regions, and where they stand among the heads."""

import math

import pytest
import torch

from yolo.cfg import CfgError
from yolo.predict import decode
from yolo.train.metrics import columns

RPN = "[conv]\nfilters=10\nsize=3\nstride=8\npad=1\n[rpn]\nanchors=10,20, 30,12\nproposals=5\n"
ROI = "[roi_align]\nfeatures=0\nrois=1\nheight=2\nwidth=2\n"
TEXT = f"{RPN}{ROI}[connected]\noutput=11\nactivation=linear\n[fast_rcnn]\nrois=1\nclasses=2\n"
SHAPE = (3, 32, 48)


def by_hand(value, roi, std=(0.1, 0.1, 0.2, 0.2)):
    """[(x, y, w, h, p)] of the two classes of one region."""
    left, top, right, bottom = roi
    wide, high = right - left, bottom - top
    total = sum(math.exp(v) for v in value[:3])
    found = []
    for c in range(2):
        x, y, w, h = (v * s for v, s in zip(value[3 + 4 * c : 7 + 4 * c], std, strict=True))
        cx, cy = (left + right) / 2 + x * wide, (top + bottom) / 2 + y * high
        w, h = wide * math.exp(w), high * math.exp(h)
        edges = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
        x1, y1, x2, y2 = (min(max(e, 0.0), 1.0) for e in edges)
        box = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
        found.append((*box, math.exp(value[c]) / total))
    return found


def test_probabilities_and_boxes(layer, image):
    head = layer(TEXT, SHAPE)
    rois = torch.tensor([[0, 0.1, 0.2, 0.5, 0.9]] * 4 + [[0, 0, 0, 0, 0]]).double()
    rois = torch.cat([rois, rois + torch.tensor([1, 0.1, 0, 0.1, 0])])[:, :, None, None]
    rois[-1, 1:] = 0
    x = image(10, 11, 1, 1)
    y = head(x, rois)
    assert y.shape == (2, 10, 5, 1) and head.out_shape == (10, 5, 1)
    boxes, objectness, scores = head.decode(y, (32, 48))
    assert boxes.shape == (2, 10, 4) and scores.shape == (2, 10, 2) and (objectness == 1).all()
    for row in range(10):
        image_, place = divmod(row, 5)
        expected = by_hand(x[row].flatten().tolist(), rois[row, 1:].flatten().tolist())
        for c in range(2):
            entry = 2 * place + c
            probability = 0.0 if place == 4 else expected[c][4]  # 4: fills up the list
            assert scores[image_, entry, c].item() == pytest.approx(probability)
            assert scores[image_, entry, 1 - c] == 0
            wanted = torch.tensor(expected[c][:4]).double()
            if place < 4:
                torch.testing.assert_close(boxes[image_, entry], wanted)


def test_predictions(build, image):
    """Through the network, decoded and suppressed as the boxes of any head."""
    net = build(TEXT, SHAPE).float().eval()
    x = image(2, 3, 32, 48).float().sigmoid()
    with torch.no_grad():
        found = decode(net, net(x), 0.01)
    assert len(found) == 2 and all((c.probs > 0).sum(1).eq(1).all() for c in found)
    one = net.predict(x[0], thresh=0.01)
    assert len(one) and (one.scores > 0.01).all() and (one.boxes_xyxy >= 0).all()
    with torch.no_grad():
        alone = decode(net, net(x[:1]), 0.01)[0].suppressed(0.45)
    assert len(one) == (alone.probs > 0).sum()


def test_the_sampling_is_that_of_the_rpn_in_training(build, image):
    net = build(TEXT + "sample=3\nfraction=1\nnegative_lowest=0", SHAPE).train()
    assert net.layers[1].regions.trained == 3 and net.layers[2].trained_rows == 3
    seen = []
    net.layers[2].register_forward_hook(lambda m, a, y: seen.append((a[1].flatten(1), y)))
    truth = torch.tensor([[0, 1, 0.5, 0.5, 0.4, 0.6], [1, 0, 0.3, 0.4, 0.3, 0.3]]).double()
    report = net.loss(image(2, 3, 32, 48), truth)
    ((rois, y),) = seen
    assert len(rois) == len(y) == 6 and rois[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    expected = torch.tensor([0.3, 0.2, 0.7, 0.8]).double()
    assert (rois[:3, 1:] - expected).abs().amax(1).min() < 1e-6  # the truth is one of them
    report.total.backward()
    assert net.layers[0].weight.grad.abs().sum() > 0 and net.layers[3].weight.grad.abs().sum() > 0
    assert report.indices == [1, 4]
    assert report.cost == pytest.approx(sum(h.cost for h in report.heads) / 2 / 2)


def test_the_four_losses_are_columns_of_metrics(build):
    names = columns(build(TEXT, SHAPE))
    for layer in (1, 4):
        for part in ("class-loss", "box-loss", "positives", "right"):
            assert f"{part}_{layer}" in names
    assert not any(name.startswith("no-obj") for name in names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RPN + "[fast_rcnn]\nrois=1", r"\[fast_rcnn\] needs 101 values of each region.*gives 5"),
        (f"{RPN}{ROI}[fast_rcnn]\nrois=0", r"rois names layer 0, \[conv\]: an \[rpn\] is needed"),
        (f"{RPN}{ROI}[fast_rcnn]\nclasses=1", "needs the key 'rois'"),
        (
            f"{RPN}{ROI}[route]\nlayers=0\n[fast_rcnn]\nrois=1",
            "does not work on the regions of layer 1: .roi_align. or .roi_pool. with the same rois",
        ),
        (TEXT + "box_std=1,1,1", "box_std must be four numbers above 0"),
        (TEXT + "negative_thresh=.6", "negative_lowest, negative_thresh, positive_thresh must"),
        (TEXT.replace("output=11", "output=12"), r"its output must be 5 \* classes \+ 1 = 11"),
        (
            f"{TEXT}[roi_pool]\nfeatures=0\nrois=1\n[connected]\noutput=6\n[fast_rcnn]\nrois=1\n"
            "classes=1",
            r"another \[fast_rcnn\] draws from this \[rpn\] already",
        ),
    ],
)
def test_refusals(build, text, message):
    with pytest.raises(CfgError, match=message):
        build(text, SHAPE)

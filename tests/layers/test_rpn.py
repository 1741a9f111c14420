"""[rpn]: from values to regions of interest, and what stands in its way."""

import pytest
import torch

from yolo import boxes as box
from yolo.cfg import CfgError
from yolo.ops import backend

TEXT = "[conv]\nfilters=10\nsize=3\nstride=8\npad=1\n[rpn]\nanchors=10,20, 30,12\n"
SHAPE = (3, 32, 48)  # a map of 4 x 6 cells


def test_the_order_of_values(layer, image):
    rpn, x = layer(TEXT, SHAPE), image(2, 10, 4, 6)
    value = rpn.split(x)
    assert value.shape == (2, 48, 5)
    # second anchor, row 3, column 2
    torch.testing.assert_close(value[1, 24 + 3 * 6 + 2], x[1, 5:, 3, 2])
    torch.testing.assert_close(rpn.joined(value, x), x)
    anchors = rpn.anchor_boxes(x)
    expected = torch.tensor([2.5 / 6, 3.5 / 4, 30 / 48, 12 / 32], dtype=torch.float64)
    torch.testing.assert_close(anchors[24 + 3 * 6 + 2], expected)


def test_anchors_keep_their_pixels_at_another_size(build):
    net = build(TEXT, SHAPE)
    net.resize(64, 80)
    x = torch.zeros(1, 10, 8, 10, dtype=torch.float64)
    expected = torch.tensor([0.5 / 10, 0.5 / 8, 10 / 80, 20 / 64], dtype=torch.float64)
    rpn = net.layers[-1]
    torch.testing.assert_close(rpn.anchor_boxes(x)[0], expected)
    assert rpn.input_size == [64, 80]  # what `border` and `min_size` are measured in
    assert rpn.inside(rpn.anchor_boxes(x)).view(2, 8, 10)[0, 1:7, 1:9].all()


def test_anchors_over_the_edge(layer):
    x = torch.zeros(1, 10, 4, 6, dtype=torch.float64)
    assert layer(TEXT + "border=-1", SHAPE).inside(layer(TEXT, SHAPE).anchor_boxes(x)).all()
    inside = layer(TEXT, SHAPE).inside(layer(TEXT, SHAPE).anchor_boxes(x)).view(2, 4, 6)
    assert inside.sum() == 2 * 4 + 2 * 2  # centres 4, 12, ...; half sides 5 x 10 and 15 x 6
    reach = layer(TEXT + "border=6", SHAPE)
    assert reach.inside(reach.anchor_boxes(x)).view(2, 4, 6)[0].all()


def slow(rpn, x):
    """The rules once more, box by box: [(edges)] of each image."""
    height, width = rpn.input_size
    found = []
    for image in rpn.split(x):
        boxes = []
        for (ax, ay, aw, ah), (x_, y, w, h, score) in zip(
            rpn.anchor_boxes(x).tolist(), image.tolist(), strict=True
        ):
            w, h = torch.tensor([w, h]).double().exp().tolist()
            cx, cy, w, h = ax + x_ * aw, ay + y * ah, w * aw, h * ah
            edges = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            boxes.append((score, [min(max(e, 0.0), 1.0) for e in edges]))
        boxes = sorted(boxes, reverse=True)[: rpn.pre_nms]
        kept = []
        for _, edges in boxes:
            sides = (edges[2] - edges[0]) * width, (edges[3] - edges[1]) * height
            if min(sides) < max(rpn.min_size, 1e-12):
                continue
            others = torch.tensor([k for k in kept] or [[0.0] * 4]).double()
            near = box.iou_matrix(torch.tensor([edges]).double(), others).max()
            if near <= rpn.nms_thresh:
                kept.append(edges)
        found.append(kept[: rpn.proposals])
    return found


@pytest.mark.parametrize("keys", ["", "pre_nms=20", "nms_thresh=.2", "min_size=9", "proposals=3"])
def test_proposals(layer, image, keys):
    rpn, x = layer(TEXT + keys, SHAPE), image(2, 10, 4, 6)
    rois = rpn(x)
    assert rois.shape == (2 * rpn.proposals, 5, 1, 1) and not rois.requires_grad
    rois = rois.flatten(1).view(2, rpn.proposals, 5)
    assert rois[:, :, 0].tolist() == [[b] * rpn.proposals for b in (0.0, 1.0)]
    for mine, expected in zip(rois, slow(rpn, x), strict=True):
        expected = torch.tensor(expected, dtype=torch.float64)
        torch.testing.assert_close(mine[: len(expected), 1:], expected, rtol=1e-5, atol=1e-6)
        assert not mine[len(expected) :, 1:].any()


def test_values_that_are_not_finite_propose_nothing(layer):
    x = torch.full((1, 10, 4, 6), float("nan"), dtype=torch.float64)
    assert not layer(TEXT, SHAPE)(x).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("anchors=10,20,30", r"test.cfg:10: \[rpn\] anchors must be pairs.*it has 3 numbers"),
        ("", r"test.cfg:9: \[rpn\] needs the key 'anchors'"),
        ("anchors=0,20, 3,3", "every side of an anchor must be larger than 0"),
        ("anchors=10,20", r"needs 5 channels for 1 anchors, and the layer before gives 10"),
        ("anchors=1,2,3,4\nproposals=0", "proposals='0' must be at least 1"),
        ("anchors=1,2,3,4\nnms_thresh=2", "nms_thresh='2' must be at most 1"),
        ("anchors=1,2,3,4\nnegative_thresh=.8", "test.cfg:11.*negative_thresh is above positive"),
    ],
)
def test_refusals(layer, text, message):
    before = "[conv]\nfilters=10\nsize=3\nstride=8\n"
    with pytest.raises(CfgError, match=message):
        layer(f"{before}[rpn]\n{text}", SHAPE)


def test_needs_images():
    from yolo.cfg import parse
    from yolo.network import Network

    text = "[net]\ninputs=10\n[connected]\noutput=5\n[rpn]\nanchors=1,1"
    with pytest.raises(CfgError, match=r"test.cfg:5: \[rpn\] needs images: width and height"):
        Network(parse(text, "test.cfg"))


def test_backends_agree(layer, image):
    rpn, x = layer(TEXT, SHAPE), image(1, 10, 4, 6)
    ours = rpn(x)
    with backend("torch"):
        torch.testing.assert_close(rpn(x), ours)

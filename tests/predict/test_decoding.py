"""Outputs -> boxes: a scalar reference, thresholds, suppression, and the letterbox undone."""

import math

import numpy as np
import pytest
import torch

from tests.predict.two_heads import micro, picture, planted, same
from yolo.data.image import letterbox, stretched
from yolo.predict import Candidates, decode, detect


def scalar_decode(net, outputs, image, thresh):
    """[(x, y, w, h), [probability of each class]] cell by cell, in Python's own arithmetic."""
    found = []
    for layer, output in zip([net.layers[i] for i in net.heads], outputs, strict=True):
        values = output[image].tolist()
        rows, cols = len(values[0]), len(values[0][0])
        for row in range(rows):
            for col in range(cols):
                for k, anchor in enumerate(layer.mask):
                    tx, ty, tw, th, objectness, *classes = (
                        values[k * (5 + layer.classes) + e][row][col]
                        for e in range(5 + layer.classes)
                    )
                    if not objectness > thresh:
                        continue
                    aw, ah = layer.anchors[anchor]
                    if layer.new_coords:
                        w, h = 4 * tw * tw * aw, 4 * th * th * ah
                    else:
                        w, h = math.exp(tw) * aw, math.exp(th) * ah
                    probs = [objectness * p if objectness * p > thresh else 0 for p in classes]
                    box = ((col + tx) / cols, (row + ty) / rows, w / 64, h / 32)
                    if any(probs):
                        found.append((box, probs))
    return found


@pytest.mark.parametrize("new_coords", [0, 1])
@pytest.mark.parametrize("thresh", [0.25, 0.1, 0.5])
def test_decoding_equals_the_scalar_formula(new_coords, thresh):
    net = micro(new_coords=new_coords, scale=1.2)
    x = [2 * torch.randn(3, *net.layers[index].out_shape) for index in net.heads]
    outputs = [net.layers[i](v.sigmoid() if new_coords else v)
               for i, v in zip(net.heads, x, strict=True)]  # fmt: skip
    for image, found in enumerate(decode(net, outputs, thresh)):
        boxes, probs = zip(*scalar_decode(net, outputs, image, thresh), strict=True)
        torch.testing.assert_close(found.boxes_xywh, torch.tensor(boxes), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.probs, torch.tensor(probs), rtol=1e-5, atol=1e-6)


def test_thresholds_are_strict():
    net = micro()
    half = {"objectness": 0.5, "class0": 0.5}
    assert len(decode(net, planted(net, **half), 0.25)[0].probs) == 0  # 0.25 is not above
    assert len(decode(net, planted(net, **half), 0.2499)[0].probs) == 1
    assert len(decode(net, planted(net, objectness=0.5, class0=1.0), 0.5)[0].probs) == 0


def test_what_is_not_finite_is_never_found():
    net = micro()
    for values in (
        {"objectness": math.nan, "class0": 1.0},
        {"objectness": 0.9, "class0": math.nan},
        {"objectness": 0.9, "class0": 0.9, "w": 1000.0},  # exp overflows
        {"objectness": 0.9, "class0": 0.9, "x": math.nan},
    ):
        assert len(decode(net, planted(net, **values), 0.25)[0].probs) == 0, values


def test_one_box_with_two_classes_is_two_entries():
    probs = torch.tensor([[0.6, 0.4], [0.0, 0.9]])
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.1, 0.2, 0.2, 0.2]])
    found = Candidates(boxes, probs).detections((50, 100), ["a", "b"], "p.jpg")
    assert found.labels.tolist() == ["b", "a", "b"]
    np.testing.assert_allclose(found.boxes_xyxy[1], [40, 15, 60, 35], rtol=1e-6)
    np.testing.assert_array_equal(found.boxes_xyxy[1], found.boxes_xyxy[2])
    assert found.path == "p.jpg" and found.image_size == (50, 100)


def test_the_last_head_chooses_the_suppression():
    outputs = {"anchor": 0, "objectness": 0.9, "class0": 0.9}
    for nms, left in (("default", 1), ("diounms", 2)):
        net = micro(nms=nms)
        net.layers[-1].beta_nms = 1e-3  # distance counts fully: nothing is suppressed
        both = planted(net, **outputs, row=1)
        both[0][0, 0:7, 1, 3] = both[0][0, 0:7, 1, 2]
        both[0][0, 0:4, 1, 3] = torch.tensor([-0.9, 0.0, 0.0, 0.0])  # nearly the same place
        found = detect(net, lambda x, both=both: both, torch.zeros(1, 3, 32, 64),
                       [stretched(32, 64)], 0.25, 0.45)  # fmt: skip
        assert len(found[0].probs) == left, nms


@pytest.mark.parametrize("size", [(48, 60), (33, 100), (100, 33), (7, 9), (31, 61)])
def test_a_letterbox_is_undone_to_the_pixel(size):
    """A box planted where the image's corner lies on the input comes back as that corner."""
    net = micro()
    _, place = letterbox(picture(*size), 32, 64)
    rows, cols = net.layers[net.heads[0]].out_shape[1:]
    left, top = (place.left + 0.5) / 64, (place.top + 0.5) / 32
    outputs = planted(net, row=int(top * rows), col=int(left * cols), x=left * cols % 1,
                      y=top * rows % 1, objectness=0.9, class0=0.9)  # fmt: skip
    found = detect(net, lambda x: outputs, torch.zeros(1, 3, 32, 64), [place], 0.25, 0.45)[0]
    x, y = (found.boxes_xywh[0, :2] * torch.tensor([place.new_width, place.new_height])).tolist()
    assert abs(x - 0.5) < 1e-4 and abs(y - 0.5) < 1e-4
    anchor_w, anchor_h = net.layers[net.heads[0]].anchors[1]
    wanted = torch.tensor([anchor_w / place.new_width, anchor_h / place.new_height])
    torch.testing.assert_close(found.boxes_xywh[0, 2:], wanted)


def test_letterbox_follows_the_cfg_unless_told():
    image = picture(100, 40)
    stretch, boxed = micro(), micro(letter_box=1)
    same(stretch.predict(image, letterbox=True, thresh=0.1), boxed.predict(image, thresh=0.1))
    same(stretch.predict(image, thresh=0.1), boxed.predict(image, letterbox=False, thresh=0.1))
    assert not np.array_equal(
        stretch.predict(image, thresh=0.1).boxes_xyxy, boxed.predict(image, thresh=0.1).boxes_xyxy
    )

"""[yolo]: keys, activation and boxes."""

import math

import pytest
import torch

from yolo.cfg import CfgError, CfgWarning

HEAD = "[yolo]\nclasses=2\nnum=3\nmask=2,0\nanchors=10,20, 30,40, 50,60\n"


def test_activation(layer, image):
    head = layer(HEAD + "scale_x_y=1.1", (14, 3, 4))
    x = image(2, 14, 3, 4)
    y = head(x).view(2, 2, 7, 3, 4)
    x = x.view(2, 2, 7, 3, 4)
    torch.testing.assert_close(y[:, :, :2], 1.1 * x[:, :, :2].sigmoid() - 0.05)
    torch.testing.assert_close(y[:, :, 2:4], x[:, :, 2:4])
    torch.testing.assert_close(y[:, :, 4:], x[:, :, 4:].sigmoid())


def test_new_coordinates_come_activated(layer, image):
    head = layer(HEAD + "new_coords=1\nscale_x_y=2", (14, 3, 4))
    x = image(2, 14, 3, 4).sigmoid()
    y, x = head(x).view(2, 2, 7, 3, 4), x.view(2, 2, 7, 3, 4)
    torch.testing.assert_close(y[:, :, :2], 2 * x[:, :, :2] - 0.5)
    torch.testing.assert_close(y[:, :, 2:], x[:, :, 2:])


@pytest.mark.parametrize("new", [0, 1])
def test_boxes_of_one_cell(layer, new):
    head = layer(HEAD + f"new_coords={new}", (14, 3, 4))
    output = torch.zeros(1, 14, 3, 4, dtype=torch.float64)
    row, col, anchor = 2, 1, 1  # the second of the mask: anchor 0, 10 x 20 pixels
    output[0, 7 * anchor : 7 * anchor + 7, row, col] = torch.tensor(
        [0.25, 0.5, 0.3, 0.6, 0.9, 0.1, 0.8], dtype=torch.float64
    )
    boxes, objectness, scores = head.decode(output, (96, 128))
    cell = anchor * 12 + row * 4 + col
    assert objectness[0, cell] == 0.9 and scores[0, cell].tolist() == [0.1, 0.8]
    w, h = (4 * 0.09, 4 * 0.36) if new else (math.exp(0.3), math.exp(0.6))
    wanted = [(1 + 0.25) / 4, (2 + 0.5) / 3, w * 10 / 128, h * 20 / 96]
    torch.testing.assert_close(boxes[0, cell], torch.tensor(wanted, dtype=torch.float64))


def test_defaults(layer):
    head = layer("[yolo]\n", (25, 2, 2))
    assert (head.classes, head.num, head.mask, head.anchors) == (20, 1, [0], [(0.5, 0.5)])
    assert (head.iou_loss, head.ignore_thresh, head.max_delta, head.random) == ("mse", 0.5, None, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("classes=3\nnum=2", r"needs 16 channels .* filters must be \(classes \+ 5\) \* 2 = 16"),
        ("classes=9\nmask=1", "mask must name anchors 0..0"),
        ("classes=9\niou_loss=cious", "did you mean 'ciou'"),
        ("classes=9\ncounters_per_class=1,2", "has 2 values for 9 classes"),
        ("classes=9\nanchors=0,3", "must be larger than 0"),
        ("num=2000000000", "at most 1000"),
        ("classes=9\nmap=/nowhere/at.all", "cannot be read"),
    ],
)
def test_refusals(build, text, words):
    with pytest.raises(CfgError, match=words):
        build(f"[conv]\nfilters=14\n[yolo]\n{text}")


def test_too_few_anchors_are_told(build):
    with pytest.warns(CfgWarning, match="has 2 of 4 anchor sides"):
        build("[conv]\nfilters=14\n[yolo]\nclasses=2\nnum=2\nanchors=3,4")


def test_map_of_classes(build, tmp_path):
    (tmp_path / "coco.map").write_text("3\n\n7\n")
    text = f"[conv]\nfilters=13\n[yolo]\nclasses=8\nmap={tmp_path}/coco.map"
    assert build(text).layers[1].map == [3, 0, 7]
    with pytest.raises(CfgError, match=r"coco.map, line 3: class 7 is none of 0\.\.3"):
        build(text.replace("filters=13", "filters=9").replace("classes=8", "classes=4"))

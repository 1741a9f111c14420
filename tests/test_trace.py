"""The trace of an image: its numbers against autograd on the same network, its files and errors."""

import json

import cv2
import numpy as np
import pytest
import torch

from yolo.__main__ import main
from yolo.cfg import parse
from yolo.network import Network
from yolo.trace import trace
from yolo.weights import save

CFG = """
[net]
width=32
height=32
channels=3
[convolutional]
filters=4
size=3
stride=4
pad=1
activation=leaky
[convolutional]
filters=8
size=1
activation=linear
[yolo]
mask=0
anchors=8,8
num=1
classes=3
[route]
layers=0
[convolutional]
filters=8
size=1
activation=linear
[yolo]
mask=0
anchors=16,16
num=1
classes=3
"""


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a b.png"
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)
    return path, pixels[:, :, ::-1]  # as RGB


def test_regions_of_interest_are_constants(picture):
    """The score of a region depends on the map, on none of the layers that made its edges."""
    text = CFG[: CFG.index("[yolo]")].replace("filters=8", "filters=5") + (
        "[rpn]\nanchors=8,8\nproposals=5\n[roi_align]\nfeatures=0\nrois=2\nwidth=3\nheight=2\n"
        "[connected]\noutput=6\nactivation=linear\n[fast_rcnn]\nrois=2\nclasses=1\n"
    )
    traced = trace(Network(parse(text), seed=3), picture[0])
    assert [layer.gradient > 0 for layer in traced.layers] == [True, False, False, True, True, True]
    assert traced.layers[3].activation_map.shape == (2, 3) and traced.heat.sum() > 0


def test_numbers_are_those_of_autograd(picture):
    net, (path, pixels) = Network(parse(CFG), seed=3), picture
    traced = trace(net, path, thresh=0.05)

    x = torch.from_numpy(pixels.transpose(2, 0, 1) / np.float32(255))[None].requires_grad_()
    first = net.layers[0](x)
    score, cells = 0.0, 0
    for convolution, head in ((1, 2), (4, 5)):
        y = net.layers[head](net.layers[convolution](first))[0]  # x, y, w, h, object, 3 classes
        confidence = y[4] * y[5:].amax(0)
        score = score + confidence[confidence > 0.05].sum()
        cells += int((confidence > 0.05).sum())
    by_first, by_x = torch.autograd.grad(score, (first, x))

    assert traced.cells == cells > 1
    assert traced.score == pytest.approx(score.item(), rel=1e-5)
    np.testing.assert_allclose(traced.heat, by_x[0].abs().sum(0), rtol=1e-3, atol=1e-7)
    layer = traced.layers[0]
    assert layer.gradient == pytest.approx(by_first.pow(2).mean().sqrt().item(), rel=1e-4)
    assert layer.activation == pytest.approx(first.pow(2).mean().sqrt().item(), rel=1e-4)
    np.testing.assert_array_equal(traced.image, pixels)


def test_where_nothing_is_found_the_surest_cell_counts(picture):
    traced = trace(Network(parse(CFG), seed=3), picture[0], thresh=0.99)
    assert traced.cells == 1 and 0 < traced.score < 0.99


def test_command(tmp_path, picture, capsys):
    cfg, weights, out = tmp_path / "n.cfg", tmp_path / "n.weights", tmp_path / "t.png"
    cfg.write_text(CFG)
    save(Network(parse(CFG)), weights)
    words = ["trace", str(cfg), str(weights), str(picture[0]), "--out", str(out)]
    assert main([*words, "--json"]) == 0
    assert [row["index"] for row in json.loads(capsys.readouterr().out)] == list(range(6))
    assert cv2.imread(str(out)).shape[1] > 500
    assert main([*words[:3], str(tmp_path / "none.jpg"), "--out", str(out)]) == 1
    assert "none.jpg" in capsys.readouterr().err

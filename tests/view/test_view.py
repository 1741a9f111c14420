"""Pictures of a network: the graph says what the layers say, tiles hold the tensors' values."""

import re
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch

import yolo
from yolo.__main__ import main
from yolo.cfg import parse
from yolo.data.image import fit, read
from yolo.network import Network
from yolo.predict import detection_heads
from yolo.trace import trace
from yolo.view import tiles
from yolo.view.graph import svg
from yolo.weights import save

CFG = """
[net]
width=32
height=16
channels=3
[convolutional]
filters=5
size=3
stride=4
pad=1
activation=leaky
[convolutional]
filters=7
groups=1
size=1
activation=linear
[convolutional]
filters=16
size=3
pad=1
activation=linear
[yolo]
mask=0,1
anchors=8,8, 16,8
num=2
classes=3
"""


@pytest.fixture
def net():
    return Network(parse(CFG), seed=3).eval()


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a b.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    return path


# ---- graph ----


@pytest.mark.parametrize("name", ["yolov4-tiny", "yolov4", "densenet201", "yolov7-tiny"])
def test_every_layer_and_source_is_in_the_graph(cfg_folder, name):
    net = yolo.load(cfg_folder / f"{name}.cfg")
    root = ElementTree.fromstring(svg(net))
    boxes = [g for g in root.iter() if "data-layer" in g.attrib]
    assert [int(g.get("data-layer")) for g in boxes] == list(range(-1, len(net.layers)))
    for layer, g in zip(net.layers, boxes[1:], strict=True):
        texts = [t.text for t in g if t.tag.endswith("text")]
        assert texts[0] == str(layer.index) and texts[1] == layer.section.name
        assert texts[3] == " x ".join(map(str, layer.out_shape))
    drawn = [(int(p.get("data-source")), int(p.get("data-reader")))
             for p in root.iter() if "data-source" in p.attrib]  # fmt: skip
    wanted = {(source, layer.index) for layer in net.layers for source in layer.sources}
    assert len(drawn) == len(wanted) and set(drawn) == wanted


@pytest.mark.parametrize("name", ["yolov4", "densenet201"])
def test_lines_of_different_sources_never_run_over_each_other(cfg_folder, name):
    root = ElementTree.fromstring(svg(yolo.load(cfg_folder / f"{name}.cfg")))
    _, _, width, height = map(float, root.get("viewBox").split())
    runs = {}  # x of a lane -> [(upper end, lower end, source)]
    for path in root.iter():
        if "data-source" not in path.attrib:
            continue
        if turn := re.fullmatch(r"M(\S+) (\S+) H(\S+) V(\S+) H(\S+)", path.get("d")):
            _, y, x, end, _ = map(float, turn.groups())
            assert 0 < y < end < height and 0 < x < width
            runs.setdefault(x, []).append((y, end, path.get("data-source")))
    assert runs
    for lane in runs.values():
        for a in lane:
            for b in lane:
                assert a[2] == b[2] or a[1] < b[0] or b[1] < a[0]


def test_names_that_are_markup_stay_text(net):
    net.cfg_path = "a/<b>&.cfg"
    texts = [t.text for t in ElementTree.fromstring(svg(net)).iter() if t.tag.endswith("text")]
    assert texts[0] == "<b>&.cfg"


# ---- tiles ----


def test_the_grid_puts_tiles_in_rows():
    four = np.arange(4)[:, None, None, None] * np.ones((4, 2, 3, 3)) / 4
    canvas = tiles.grid(four, 3)
    assert canvas.shape == (5, 11, 3)
    assert (canvas[0:2, 4:7] == 0.25).all() and (canvas[3:5, 0:3] == 0.75).all()
    assert (canvas[2] == 1).all() and (canvas[3:, 3:] == 1).all()


def test_filters_on_colours_show_the_weights(net):
    picture, title = tiles.filters(net)
    weight = net.layers[0].weight.detach().numpy()
    assert picture.shape == (2 * 4 - 1, 3 * 4 - 1, 3) and "5 of 5 filters, 3 x 3" in title
    tile = picture[4:7, 0:3].transpose(2, 0, 1)  # filter 3
    np.testing.assert_allclose((tile - 0.5) * 2 * np.abs(weight[3]).max(), weight[3], atol=1e-6)


def test_other_filters_are_rows_of_channels(net):
    picture, title = tiles.filters(net, 1)
    weight = net.layers[1].weight.detach().numpy()[:, :, 0, 0]
    assert picture.shape == (7, 5, 3) and "7 of 7 filters (rows), 5 of 5 channels" in title
    red = picture[..., 0] - picture[..., 2]
    strong = np.abs(weight) > 0.1 * np.abs(weight).max()
    np.testing.assert_array_equal(np.sign(red)[strong], np.sign(weight)[strong])
    assert tiles.filters(net, 2)[0].shape == (16 * 4 - 1, 7 * 4 - 1, 3)


def test_maps_are_the_outputs(net, picture):
    shown, title = tiles.maps(net, picture, 1)
    x, _ = fit(read(picture), 16, 32)
    y = net.outputs(torch.from_numpy(x)[None])[1][0].detach()
    assert "7 of 7 maps, 4 x 8" in title and shown.shape == (3 * 5 - 1, 3 * 9 - 1, 3)
    tile = shown[5:9, 9:17]  # channel 4: brighter where it is greater
    order = np.argsort(y[4].flatten().numpy())
    assert (np.diff(tile.reshape(-1, 3)[order].sum(1)) >= -0.05).all()


@pytest.mark.parametrize("index, message", [
    (3, r"layer 3 \[yolo\] has no filters; these have: 0, 1, 2"),
    (9, "layers 0 to 3"), (-1, "layers 0 to 3"),
])  # fmt: skip
def test_layers_without_a_picture_are_named(net, index, message):
    with pytest.raises(tiles.PlotError, match=message):
        tiles.filters(net, index)


# ---- one detection ----


def test_the_heat_of_one_detection_is_the_gradient_of_its_score(net, picture):
    found = net.predict(picture, thresh=0.1)
    for number in (1, 2):
        traced = trace(net, picture, 0.1, detection=number)
        assert traced.score == pytest.approx(found[number - 1].score, rel=1e-4)
        x = torch.from_numpy(fit(read(picture), 16, 32)[0])[None].requires_grad_()
        y = net(x)[0][0].reshape(2, 8, -1)
        _, head = detection_heads(net)[0]
        scores = y[:, 4:5] * y[:, 5:]
        score = scores.flatten()[(scores - traced.score).abs().argmin()]
        (gradient,) = torch.autograd.grad(score, x)
        np.testing.assert_allclose(traced.heat, gradient[0].abs().sum(0), rtol=1e-3, atol=1e-7)
        x1, _, x2, _ = traced.box  # of the input, 32 wide as the image
        np.testing.assert_allclose([x1, x2], found[number - 1].box_xyxy[::2], rtol=1e-3, atol=1e-3)
        assert head.classes == 3


# ---- command ----


@pytest.mark.parametrize("what, start", [
    ("graph", b"<svg"), ("filters", b"\x89PNG"), ("maps", b"\x89PNG"), ("heat", b"\x89PNG"),
])  # fmt: skip
def test_the_command_leaves_a_picture(net, picture, tmp_path, capsys, what, start):
    cfg, weights, out = tmp_path / "c.cfg", tmp_path / "c.weights", tmp_path / "new" / "p"
    cfg.write_text(CFG)
    save(net, weights)
    flags = ["--detection", "1", "--thresh", "0.1"] if what == "heat" else []
    arguments = ["plot", str(cfg), str(weights), str(picture), "--what", what, "--out", str(out)]
    assert not main([*arguments, *flags]), capsys.readouterr().err
    assert out.read_bytes().startswith(start)


def test_the_command_says_what_is_missing(tmp_path, capsys):
    cfg = tmp_path / "c.cfg"
    cfg.write_text(CFG)
    assert main(["plot", str(cfg), "--what", "maps"]) == 1
    assert "--what maps needs WEIGHTS and IMAGE" in capsys.readouterr().err

"""Boxes found on the device, against decoding and suppression on the CPU."""

import pytest
import torch

from yolo import boxes, cfg
from yolo.data.image import letterboxed, stretched
from yolo.network import Network
from yolo.ops.cuda import CudaError
from yolo.plan.cuda import CudaPlan
from yolo.plan.cuda_detect import DeviceHeads, Found
from yolo.predict import Candidates, decode, detect

CFG = """
[net]
width=64
height=32
channels=3

[convolutional]
filters=8
size=3
stride=4
pad=1
activation=leaky

[convolutional]
filters={filters}
size=1
activation={activation}

[yolo]
mask=0,2
anchors=6,9, 20,12, 13,16
classes={classes}
num=3
{keys}

[route]
layers=0

[convolutional]
filters={half}
size=3
stride=2
pad=1
activation={activation}

[yolo]
mask=1
anchors=6,9, 20,12, 13,16
classes={classes}
num=3
{keys}
"""
KEYS = {
    "plain": "",
    "greedynms": "nms_kind=greedynms\nscale_x_y=1.2",
    "diounms": "nms_kind=diounms\nbeta_nms=0.8\nscale_x_y=1.05",
    "diounms, beta 0": "nms_kind=diounms\nbeta_nms=0",
    "new_coords": "new_coords=1\nscale_x_y=2",
}


@pytest.fixture
def build(tmp_path):
    """build(kind, classes): a network whose heads say yes often, and to overlapping boxes."""

    def make(kind="plain", classes=3, spread=3.0):
        path = tmp_path / "net.cfg"
        activation = "logistic" if kind == "new_coords" else "linear"
        sizes = {"filters": 2 * (5 + classes), "half": 5 + classes, "classes": classes}
        path.write_text(CFG.format(keys=KEYS[kind], activation=activation, **sizes))
        net = Network(cfg.read(str(path))).eval()
        for layer in net.layers:
            if hasattr(layer, "weight"):
                layer.weight.data.normal_(0, spread / layer.weight[0].numel() ** 0.5)
        return net

    return make


PLACES = [stretched(32, 64), letterboxed((50, 40), 32, 64), letterboxed((30, 100), 32, 64)]


def on_the_cpu(net, outputs, places, thresh, nms):
    last = net.layers[-1]
    results = []
    for found, place in zip(decode(net, outputs, thresh), places, strict=True):
        found.boxes_xywh = place.to_image(found.boxes_xywh)
        results.append(found.suppressed(nms, last.nms_kind, last.beta_nms))
    return results


def assert_same(got, wanted):
    assert len(got) == len(wanted)
    for mine, theirs in zip(got, wanted, strict=True):
        assert mine.probs.shape == theirs.probs.shape
        torch.testing.assert_close(mine.boxes_xywh, theirs.boxes_xywh, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(mine.probs, theirs.probs, rtol=1e-4, atol=1e-6)
        assert ((mine.probs > 0) == (theirs.probs > 0)).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", KEYS)
def test_the_boxes_of_the_cpu(machine, kernels, build, kind, precision):
    net = build(kind)
    plan = CudaPlan(net.fused().to(machine.device), 3, precision, kernels)
    x = torch.rand(3, *net.input_shape, device=machine.device)
    outputs = [y.cpu() for y in plan(x)]
    for thresh, nms in ((0.1, 0.45), (0.5, 0.2)):
        wanted = on_the_cpu(net, outputs, PLACES, thresh, nms)
        assert sum(len(found.probs) for found in wanted) > 20
        got = [Candidates(b, p).left(k) for b, p, k in plan.detect(x, PLACES, thresh, nms)]
        assert_same(got, wanted)
        assert_same(detect(net, plan, x, PLACES, thresh, nms), wanted)


@pytest.mark.parametrize("images", [1, 2])
def test_batches_that_are_not_full(machine, kernels, build, images):
    net = build(classes=1)
    plan = CudaPlan(net.fused().to(machine.device), 3, "fp32", kernels)
    x = torch.rand(3, *net.input_shape, device=machine.device)
    wanted = on_the_cpu(net, [y.cpu() for y in plan(x)], PLACES, 0.2, 0.4)[:images]
    assert_same(detect(net, plan, x[:images], PLACES[:images], 0.2, 0.4), wanted)


def raw(machine, count, classes, values):
    """A head of one row: (DeviceHeads' grid of `count` cells, its map)."""
    x = torch.tensor(values, device=machine.device).view(1, 1, count, 5 + classes)
    return x.permute(0, 3, 1, 2), [(0.5, 0.5)], 1.0, True


def find(kernels, grids, capacity, classes):
    heads = DeviceHeads(grids, classes, -1.0, kernels, capacity)
    heads.set([stretched(8, 8)], thresh=0.2, nms=0.5)
    heads.launch()
    return heads


def test_equal_probabilities_fall_as_in_darknets_sorting(machine, any_order):
    """Values of a few levels, so that most are equal; many classes, so that order matters."""
    torch.manual_seed(3)
    count, classes = 90, 4
    values = torch.randint(1, 4, (count, 5 + classes)) / 4
    values[:, 2:4] = 0.75
    grid = raw(machine, count, classes, values.flatten().tolist())
    (got,) = find(any_order, [grid], count, classes).read(1)
    place, _, probs = got
    wanted = boxes.nms(place, got[1], 0.5)
    assert (wanted > 0).sum() < (got[1] > 0).sum()
    torch.testing.assert_close(probs, wanted, rtol=0, atol=0)


def test_nan_and_infinity_are_no_boxes(machine, kernels):
    inf, nan = float("inf"), float("nan")
    rows = [[0.5, 0.5, 0.5, 0.5, 0.9, 0.9] for _ in range(6)]
    rows[0][0], rows[1][2], rows[2][4], rows[3][5] = nan, inf, nan, nan
    grid = raw(machine, 6, 1, [v for row in rows for v in row])
    ((place, before, after),) = find(kernels, [grid], 6, 1).read(1)
    assert place.isfinite().all() and before.flatten().tolist() == pytest.approx([0.81] * 2)
    assert len(place) == 2 and after.shape == (2, 1)


def test_nothing_found(machine, kernels):
    grid = raw(machine, 3, 1, [0.1] * 18)
    ((place, before, after),) = find(kernels, [grid], 3, 1).read(1)
    assert place.shape == (0, 4) and before.shape == after.shape == (0, 1)


def test_more_candidates_than_room_go_to_the_cpu(machine, kernels, build):
    grid = raw(machine, 9, 1, [0.9] * 54)
    heads = find(kernels, [grid], 8, 1)
    assert heads.found.counts.tolist() == [9] and heads.read(1) is None
    net = build()
    plan = CudaPlan(net.fused().to(machine.device), 3, "fp32", kernels)
    finder = plan._finder
    finder.found = Found(3, 8, 3, machine.device)
    x = torch.rand(3, *net.input_shape, device=machine.device)
    wanted = on_the_cpu(net, [y.cpu() for y in plan(x)], PLACES, 0.1, 0.45)
    assert_same(detect(net, plan, x, PLACES, 0.1, 0.45), wanted)


def test_what_the_kernel_refuses(machine, kernels):
    grid = raw(machine, 3, 1, [0.9] * 18)
    with pytest.raises(CudaError, match="sizes or strides"):
        find(kernels, [grid] * 9, 8, 1)
    double = (grid[0].double(), *grid[1:])
    with pytest.raises(CudaError, match="number type"):
        find(kernels, [double], 8, 1)

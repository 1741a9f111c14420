"""The table of a training step's kernels names those that run."""

import pytest
import torch

import yolo
from yolo.cfg import parse
from yolo.network import Network
from yolo.ops import conv, packed_conv, precision
from yolo.plan import training

BODY = """[net]
width=24
height=24
channels=3
batch=2
[convolutional]
batch_normalize=1
filters=32
size=3
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=32
size=3
pad=1
activation=mish
[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=16
size=3
pad=1
dilation=2
activation=leaky
[convolutional]
filters=16
size=5
stride=2
pad=1
activation=leaky
[convolutional]
filters=16
size=3
pad=1
activation=selu
[convolutional]
filters=16
size=3
pad=1
groups=16
activation=leaky
[convolutional]
filters=14
size=1
activation=linear
[yolo]
classes=2
anchors=10,14, 23,27
num=2
mask=0,1
"""


class Recorded:
    """A packed convolution that notes which of its passes run."""

    def __init__(self, conv, shape, runs):
        self._conv, self._shape, self._runs = conv, shape, runs

    def _note(self, name):
        self._runs.add((self._shape.c, self._shape.k, self._shape.stride, name))

    def forward(self, *given):
        self._note("forward")
        self._conv.forward(*given)

    def forward_moments(self, *given):
        self._note("forward")
        self._conv.forward_moments(*given)

    def backward(self, *given):
        for name, address in zip(("grad_weight", "grad_x"), given[12:14], strict=True):
            if address:
                self._note(name)
        self._conv.backward(*given)


@pytest.fixture
def packed_runs(monkeypatch):
    runs, make = set(), packed_conv._Layer

    def recorded(shape, *given):
        layer = make(shape, *given)
        layer.conv = Recorded(layer.conv, shape, runs)
        return layer

    monkeypatch.setattr(packed_conv, "_layers", {})
    monkeypatch.setattr(packed_conv, "_Layer", recorded)
    return runs


@pytest.fixture
def planar_runs(monkeypatch):
    runs, plan = [], conv.conv_plan

    def recorded(shape, name, threads):
        chosen = plan(shape, name, threads)
        runs.append((shape, name, chosen.algorithm))
        return chosen

    monkeypatch.setattr(conv, "conv_plan", recorded)
    return runs


@pytest.mark.parametrize("word", ["fast", "exact"])
def test_rows_are_what_a_step_runs(word, packed_runs, planar_runs):
    net = Network(parse(BODY)).train()
    with precision(word):
        net.loss(
            torch.rand(2, 3, 24, 24), torch.tensor([[0, 1, 0.5, 0.5, 0.2, 0.3]])
        ).total.backward()
    rows = training.rows(net, 2, precision=word)
    packed = [row for row in rows if not row.why.startswith("planar")]
    expected = set()
    for row in packed:
        shape = net.layers[row.layer].conv_shape(2)
        for name in ("forward", "grad_x", "grad_weight"):
            if getattr(row, name):
                expected.add((shape.c, shape.k, shape.stride, name))
    assert packed_runs == expected
    planar = {(row.layer, name, getattr(row, name)) for row in rows if row not in packed
              for name in ("forward", "grad_x", "grad_weight")}  # fmt: skip
    number = {net.layers[row.layer].conv_shape(2): row.layer for row in rows}
    assert {(number[shape], name, algorithm) for shape, name, algorithm in planar_runs} == planar


def test_layers_that_leave_the_layout():
    others = "[activation]\nactivation=selu\n[activation]\nactivation=mish\n[batchnorm]\n"
    last = "[convolutional]\nfilters=14"
    net = Network(parse(BODY.replace(last, others + last)))
    assert training.unpacked(net) == {
        7: "planar: [activation] with selu",
        9: "planar: [batchnorm] of 16 channels has no packed kernel",
    }
    lines = training.describe(net, 2).splitlines()[2:]
    assert [int(line.split()[0]) for line in lines] == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10]


def test_rows_say_why():
    net = Network(parse(BODY)).train()
    fast, exact = (training.rows(net, 2, precision=word) for word in ("fast", "exact"))
    assert [row.forward for row in fast[:3]] == ["stem", "winograd4", "direct"]
    assert (fast[1].grad_weight, fast[2].grad_x) == ("winograd4", "remainders")
    assert exact[1].forward == "direct" and exact[1].why == "precision is exact"
    assert [row.why for row in fast[3:]] == [
        "only direct fits this kernel", "only direct fits this kernel",
        "planar: no packed kernel of size 3, stride 1, padding 1, selu",
        "a filter for each channel", "only direct fits this kernel",
    ]  # fmt: skip
    assert fast[3][1:4] == ("direct", "direct", "outer") and fast[4].grad_x == "remainders"
    assert fast[6][1:4] == ("depthwise",) * 3 and fast[0].grad_x == ""
    grouped = (
        BODY.replace("groups=16", "groups=4"),
        BODY.replace("groups=16", "groups=2\ndilation=3"),
    )
    rows = [training.rows(Network(parse(body)), 2)[6] for body in grouped]
    assert rows[0].why == "4 groups of 4 channels" and rows[0].grad_weight == "outer"
    assert rows[1].why == "2 groups of 8 channels"
    few = training.rows(Network(parse(BODY.replace("filters=32", "filters=31", 1))), 2)
    assert few[1].why == "fewer than 32 channels"
    small = BODY.replace("height=24", "height=8").replace("width=24", "width=8")
    assert training.rows(Network(parse(small)), 2)[1].why == "fewer than 256 pixels in all images"


@pytest.mark.long
def test_every_network_of_cfg_stays_packed(cfg_folder):
    """Up to its heads, which are planar, or what is no map any more."""
    planar = {"connected", "cost", "crop", "roi_align", "rpn"}
    for path in sorted(cfg_folder.glob("*.cfg")):
        net = yolo.load(path)
        assert {net.layers[i].section.name for i in training.unpacked(net)} <= planar, path
        assert not [row for row in training.rows(net, 1) if row.why.startswith("planar")], path

"""Faster R-CNN in ONNX Runtime against the network in float64."""

import numpy as np
import pytest
import torch

from yolo.cfg import parse
from yolo.network import Network
from yolo.ops import backend

pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")

from yolo.export import check as checking
from yolo.export.graph import ExportError
from yolo.export.onnx import model
from yolo.export.order import as_ours, nearest
from yolo.export.regions import misplaced

CONV = "[convolutional]\nfilters={}\nsize={}\nstride={}\npad=1\nactivation={}\n"
BODY = "[net]\nwidth={width}\nheight=48\nchannels=3\n" + CONV.format(6, 3, 4, "leaky")
RPN = CONV.format(15, 1, 1, "linear") + "[rpn]\nanchors=12,9, 20,30, 40,16\nborder=-1\n{rpn}\n"
HEAD = "[{cut}]\nfeatures=0\nrois=2\nwidth={bins}\nheight=3\n{more}\n"
HEAD += "[connected]\noutput=16\nactivation=linear\n[fast_rcnn]\nrois=2\nclasses=3\n"
SOME = "pre_nms=100\nproposals=20"
FEW = "pre_nms=60\nproposals=70\nmin_size=10\nnms_thresh=0.5"  # fewer are left


def network(rpn=SOME, cut="roi_align", bins=4, more="samples=2", width=64, body=RPN + HEAD):
    text = (BODY + body).format(rpn=rpn, cut=cut, bins=bins, more=more, width=width)
    net = Network(parse(text), seed=2).eval()
    with torch.no_grad():
        net.layers[1].weight.mul_(3)  # scores that are far apart
        if body.endswith(HEAD):
            net.layers[4].weight.mul_(2)
    return net


def outputs(net, x, nodes="heads"):
    return checking.opened(checking.onnxruntime, model(net, len(x), nodes))(x.numpy())


def same(y, wanted):
    error = (torch.from_numpy(y).double() - wanted).norm() / wanted.norm()
    assert y.shape == wanted.shape and error <= 1e-5, f"relative L2 {error:.2e}"


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "keys",
    [{}, {"rpn": FEW}, {"cut": "roi_pool", "more": ""}, {"more": "samples=3", "bins": 1}],
    ids=["align", "few", "pool", "samples"],
)
def test_regions_are_those_of_the_network(keys, batch):
    net = network(**keys)
    x = torch.rand(batch, *net.input_shape, generator=torch.Generator().manual_seed(batch))
    with backend("torch"):
        (wanted,) = net.double()(x.double())
    there = (wanted[0, 4::5, :, 0].sum(0) > 0).sum()
    assert there == 20 if "rpn" not in keys else 4 < there < 60
    same(outputs(net.float(), x)[0], wanted)


@torch.no_grad()
def test_a_network_may_end_in_its_regions():
    net = network(body=RPN)
    x = torch.rand(2, *net.input_shape)
    (y,) = outputs(net, x)
    (wanted,) = net.double()(x.double())
    assert y.shape == (40, 5, 1, 1)
    same(y, wanted)


@pytest.mark.parametrize("program", ["onnxruntime", "opencv", "openvino"])
@pytest.mark.parametrize("nodes", ["heads", "boxes", "detections"])
def test_programs_agree(nodes, program):
    if program == "openvino":
        pytest.importorskip("openvino", reason="needs the package openvino")
    net = network()
    assert len(checking.expected(net, checking.images(net, 2), "detections", 0.25, 0.45)[0]) > 5
    results = checking.check(net, model(net, 2, nodes), nodes, 2, programs=[program])
    assert results[program] is None or results[program] < 1e-5


def test_what_has_no_form_is_refused():
    with pytest.raises(ExportError, match=r"\[rpn\] chooses regions image by image"):
        model(network(), batch=None)
    with pytest.raises(ExportError, match=r"\[roi_align\] needs opset 16 or newer, got 15"):
        model(network(), opset=15)
    with pytest.raises(ExportError, match=r"\[roi_pool\] has 7 bins .* region of 57 cells"):
        model(network(cut="roi_pool", more="", bins=7, width=256))
    model(network(cut="roi_pool", more="", bins=7))


def test_bins_in_single_precision():
    assert misplaced(7, 56) is None and misplaced(7, 57) == 57
    assert misplaced(4, 500) is None  # shares are exact


def shuffled(outputs, nodes, seed=0):
    """The same with the regions of each image in another order."""
    generator, (first, *_) = np.random.default_rng(seed), outputs
    order = generator.permutation(20)
    if nodes == "heads":
        return [first[:, :, order]]
    return [y.reshape(len(y), 20, 3, -1)[:, order].reshape(y.shape) for y in outputs]


@pytest.mark.parametrize("nodes", ["heads", "boxes"])
def test_the_order_of_regions_does_not_count_but_each_of_them_does(nodes):
    net = network()
    wanted = checking.expected(net, checking.images(net, 2), nodes, 0.25, 0.45)
    found = shuffled(wanted, nodes)
    assert checking.distance(wanted[0], found[0]) > 0.1
    for a, b in zip(wanted, as_ours(net, wanted, found, nodes), strict=True):
        assert (a == b).all()
    assert checking.compare(net, found, wanted, nodes, "fp32") == (0, None)
    regions = found[0] if nodes == "boxes" else found[0].swapaxes(1, 2)
    regions[0, 3] = regions[0, 4]  # one twice, one missing
    assert checking.compare(net, found, wanted, nodes, "fp32")[1]
    regions[0, 3] = np.nan
    assert "nan" in checking.compare(net, found, wanted, nodes, "fp32")[1]


def test_each_row_is_taken_once():
    ours = np.float32([[0, 0], [0, 0], [5, 5]])
    assert nearest(ours, ours[[2, 0, 1]]).tolist() == [1, 2, 0]
    assert sorted(nearest(ours, ours[[0, 2, 2]])) == [0, 1, 2]

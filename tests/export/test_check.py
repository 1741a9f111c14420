"""What is exported is compared with the network before a file is left."""

from pathlib import Path

import numpy as np
import pytest
import torch

import yolo
from yolo import ops
from yolo.__main__ import main
from yolo.cfg import parse
from yolo.network import Network
from yolo.weights import save

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")

from yolo.export import check as checking  # noqa: E402
from yolo.export.graph import ExportError  # noqa: E402
from yolo.export.onnx import model  # noqa: E402

CFG = """
[net]
width=64
height=32
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=4
pad=1
activation=mish
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


@pytest.fixture
def net():
    net = Network(parse(CFG), seed=1).eval()
    net.layers[0].rolling_var.fill_(0.05)
    return net


def test_from_python(net, tmp_path):
    agreed = net.export(tmp_path / "new" / "n.onnx", nodes="boxes", batch=None, metadata={"a": "b"})
    assert 0 <= agreed["onnxruntime"] < 1e-4
    made = onnx.load(tmp_path / "new" / "n.onnx")
    assert [y.name for y in made.graph.output] == ["boxes", "scores"]
    assert {"a": "b"}.items() <= {p.key: p.value for p in made.metadata_props}.items()
    with pytest.raises(ExportError, match="check by word: choose from onnxruntime"):
        net.export(tmp_path / "o.onnx", programs=["word"])
    assert not (tmp_path / "o.onnx").exists()


@pytest.fixture
def files(net, tmp_path):
    cfg, weights = tmp_path / "a b.cfg", tmp_path / "n.weights"
    cfg.write_text(CFG)
    save(net, weights)
    return str(cfg), str(weights)


@pytest.mark.parametrize("nodes", ["heads", "boxes", "detections"])
@pytest.mark.parametrize("batch", [1, None])
def test_a_right_graph_passes(net, nodes, batch):
    results = checking.check(net, model(net, batch, nodes), nodes, batch, programs=["onnxruntime"])
    assert results["onnxruntime"] is None or results["onnxruntime"] <= 1e-5


@pytest.mark.parametrize("program", ["opencv", "openvino"])
def test_other_programs_agree(net, program):
    if program == "openvino":
        pytest.importorskip("openvino", reason="needs the package openvino")
    results = checking.check(net, model(net), "heads", 1, programs=[program])
    assert results[program] <= 1e-5


def test_a_nearly_empty_box_may_be_rounded_and_no_other():
    thin = np.float32([[0, 0.5, 0.2, 0.50008, 0.3, 0.9, 1]])
    rounded, moved = thin + np.float32(2e-7), thin + np.float32(2e-6)
    for row in (rounded, moved):
        row[:, [0, 5, 6]] = thin[:, [0, 5, 6]]
        row[:, 3] = thin[:, 3]
    assert checking.differing(thin, rounded, "fp32") is None
    assert "no box like that" in checking.differing(thin, moved, "fp32")
    rounded[0, 1] = np.nan
    assert "no box like that" in checking.differing(thin, rounded, "fp32")


def test_opencv_is_not_asked_where_nothing_is_found(net):
    made = model(net, 1, "detections", thresh=0.999)
    with pytest.raises(ExportError, match=r"finds nothing above 0\.999"):
        checking.check(net, made, "detections", 1, thresh=0.999, programs=["opencv"])


def spoiled(net, factor):
    """The graph of a network whose first weights differ by a factor."""
    other = Network(parse(CFG), seed=1).eval()
    other.load_state_dict(net.state_dict())
    with torch.no_grad():
        other.layers[0].weight.mul_(factor)
    return other


@pytest.mark.parametrize("nodes", ["heads", "boxes", "detections"])
def test_a_wrong_graph_is_refused(net, nodes):
    with pytest.raises(ExportError, match="onnxruntime: "):
        made = model(spoiled(net, 1.5), 1, nodes, thresh=0.25)
        checking.check(net, made, nodes, 1, programs=["onnxruntime"])


def test_not_a_number_is_refused(net):
    with pytest.raises(ExportError, match="raw outputs differ by nan"):
        made = model(spoiled(net, float("nan")))
        checking.check(net, made, "heads", 1, programs=["onnxruntime"])


def test_a_network_without_finite_outputs_is_told_apart_from_a_wrong_graph(net):
    with pytest.raises(ExportError, match="own outputs are not finite"):
        checking.check(spoiled(net, float("nan")), model(net), "heads", 1)


def test_the_first_layer_that_differs_is_named(net, monkeypatch):
    from yolo.export import layers

    right = layers.LAYERS["Convolutional"]

    def wrong(graph, layer, x):
        y = right(graph, layer, x)
        return graph.add("Neg", [y]) if layer.index == 1 else y

    monkeypatch.setitem(layers.LAYERS, "Convolutional", wrong)
    with pytest.raises(ExportError, match=r"first at layer 1 \[convolutional\]"):
        checking.check(net, model(net), "heads", 1, programs=["onnxruntime"])


def test_command_leaves_a_file_only_if_it_agrees(files, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out" / "n.onnx"
    names = tmp_path / "n.names"
    names.write_text("cat\ndog\n")
    words = ["export", *files, "--out", str(out), "--check", "onnxruntime", "--names", str(names)]
    assert main([*words, "--nodes", "boxes", "--dynamic-batch"]) == 0
    assert "onnxruntime: agrees to" in capsys.readouterr().out
    made = onnx.load(out)
    assert [o.name for o in made.graph.output] == ["boxes", "scores"]
    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert {"key": "names", "value": '["cat", "dog"]'} in [
        {"key": p.key, "value": p.value} for p in made.metadata_props
    ]
    out.unlink()
    monkeypatch.setattr(checking, "distance", lambda ours, theirs: float("nan"))
    assert main(words) == 1
    assert "differ by nan" in capsys.readouterr().err and not out.exists()


def test_command_half_precision(files, tmp_path, capsys):
    out = tmp_path / "h.onnx"
    assert main(["export", *files, "--out", str(out), "--fp16", "--check", "onnxruntime"]) == 0
    kinds = {t.data_type for t in onnx.load(out).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds


def test_command_refuses_unknown_programs_and_opsets(files, capsys):
    assert main(["export", *files, "--check", "caffe"]) == 1
    assert "choose from onnxruntime" in capsys.readouterr().err
    assert main(["export", *files, "--opset", "9"]) == 1
    assert "opset is 13 to 21" in capsys.readouterr().err


CFGS = sorted((Path(__file__).resolve().parents[2] / "cfg").glob("*.cfg"))


@torch.no_grad()
def settled(net):
    """Statistics as if it had been trained, those of one batch of the images; few detections."""
    net.train()
    with ops.backend("torch"):
        net(torch.from_numpy(checking.images(net, 2)))
    for name, buffer in net.named_buffers():
        if name.endswith(("rolling_mean", "rolling_var")):
            buffer.mul_(100)  # they began at 0 and moved by a hundredth
        if name.endswith("rolling_var"):  # no channel that is nearly constant: it amplifies errors
            buffer.clamp_(min=buffer.mean())
    for layer in (net.layers[i] for i in net.heads):
        if hasattr(layer, "anchors"):
            net.layers[layer.sources[0]].bias.sub_(2)
    return net.eval()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", CFGS, ids=lambda p: p.stem)
def test_every_shipped_cfg(path):
    net = yolo.load(path)
    if any(layer.section.name == "yolo" for layer in net.layers):
        net.resize(128, 128)
    settled(net)
    found = any(hasattr(net.layers[i], "decode") for i in net.heads)
    for nodes in ("heads", "boxes") if found else ("heads",):
        results = checking.check(net, model(net, 1, nodes), nodes, 1)
        print(path.stem, nodes, results)
        assert "onnxruntime" in results

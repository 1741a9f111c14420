"""The GPU benchmarks on the stand-in, from their flags to the table of the report."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes

from tests.cuda.conftest import Gpu
from tests.micro_net import HEAD

CFG = Path(__file__).resolve().parents[2] / "cfg"
TINY = (
    "[net]\nwidth=16\nheight=16\nchannels=3\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[maxpool]\nsize=2\nstride=2\n[upsample]\nstride=2\n[route]\nlayers=-1,-3\n" + HEAD
)


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.cfg"
    path.write_text(TINY)
    return str(path)


def rows(path, capsys, load):
    """What a benchmark has written, of which the report makes a table."""
    load("report").main([str(path)])
    assert "stand-in, torch" in capsys.readouterr().out
    return json.loads(path.read_text())["rows"]


@pytest.fixture
def conv(gpu, load, tiny, tmp_path, monkeypatch):
    """(bench_conv.py in a precision, the module that does it, the file of its figures)"""
    bench, path = load("bench_conv"), tmp_path / "conv.json"
    module = importlib.import_module("conv_cuda")  # as the benchmark does
    with _disable_current_modes():  # it counts on the device "meta", the stand-in's own
        shapes = module.layer_shapes(tiny, 2)
    monkeypatch.setattr(module, "layer_shapes", lambda *_: shapes)
    given = ["--device", "cuda", "--cfg", tiny, "--batch", "2", "--pairs", "2", "--json", str(path)]
    return lambda precision: bench.main([*given, "--precision", precision]), module, path


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_convolutions(conv, load, capsys, precision):
    run, _, path = conv
    run(precision)
    found = rows(path, capsys, load)
    assert [row["pass"] for row in found] == ["forward", "grad_x", "grad_weight"] * 2


def test_a_pass_that_differs_or_fails_ends_no_other(conv, load, capsys, monkeypatch):
    run, module, path = conv
    plain = module.cudnn

    def cudnn(a, name, x, weight, grad_y):
        if name == "grad_x":
            raise RuntimeError("out of order")
        return plain(a, name, -x if name == "forward" else x, weight, grad_y)

    monkeypatch.setattr(module, "cudnn", cudnn)
    with pytest.raises(SystemExit, match=r"not measured: forward of ConvShape.*, grad_x of"):
        run("bf16")
    out = capsys.readouterr().out
    assert out.count("out of order") == 2 and out.count("the results differ by 2.0e+00") == 2
    assert [row["pass"] for row in rows(path, capsys, load)] == ["grad_weight"] * 2


def test_inference(gpu, load, tiny, tmp_path, capsys):
    path = tmp_path / "network.json"
    given = ["--device", "cuda", "--precision", "bf16", "--batch", "2", "--pairs", "2"]
    modes = ["eager", "graph"]
    load("bench_network").main([*given, "--json", str(path), f"{tiny}:16", "--modes", *modes])
    assert [row["peer_mode"] for row in rows(path, capsys, load)] == modes


def test_training_steps(gpu, load, tiny, tmp_path, capsys):
    path, modes = tmp_path / "train.json", ["eager", "graph"]
    given = ["--cfg", tiny, "--size", "16", "--batch", "1", "--precision", "tf32", "--pairs", "2"]
    load("bench_train").main([*given, "--json", str(path), "--ours", *modes, "--modes", *modes])
    found = [(row["peer_mode"], row["our_mode"]) for row in rows(path, capsys, load)]
    assert found == [(theirs, ours) for theirs in modes for ours in modes]


@pytest.mark.long
@pytest.mark.parametrize("name", ["yolov3", "yolov4"])
def test_the_peers_of_the_networks_measured_can_be_graphs(gpu, load, name):
    """Nothing of theirs waits for the device while it is recorded."""
    net = load("bench_network").network(CFG / f"{name}.cfg", 64).to("cuda")
    x = torch.rand(2, *net.input_shape, device="cuda")
    heads = load("network_cuda").peer(net.eval(), x, "bf16", "graph")()
    train = load("bench_train")
    side = (*train.peer(net.train(), "tf32"), x, train.truths(2, "cuda"))
    train.Step(*side, "graph")()
    assert len(heads) == 3 and all(bool(head.isfinite().all()) for head in heads)


def test_the_tests_of_a_gpu_end_where_there_is_none():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(pytest.exit.Exception, match=r"kernels\.so, but torch finds no GPU"):
        Gpu("kernels.so")

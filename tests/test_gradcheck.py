"""Comparing gradients with differences finds right ones right and wrong ones wrong."""

import json

import pytest
import torch

from yolo import gradcheck
from yolo.__main__ import main
from yolo.cfg import parse
from yolo.network import Network

CFG = """
[net]
width=16
height=16
channels=3
[convolutional]
batch_normalize=1
filters=6
size=3
stride=2
pad=1
activation=mish
[maxpool]
size=2
stride=2
[convolutional]
filters=6
size=1
activation=leaky
[upsample]
stride=2
[route]
layers=-1,0
[dropout]
probability=0.3
[convolutional]
filters=16
size=1
activation=linear
[yolo]
mask=0,1
anchors=4,4, 8,8
num=2
classes=3
"""


@pytest.fixture
def net():
    return Network(parse(CFG))


def test_every_gradient_of_a_right_network_agrees(net):
    rows = gradcheck.check_network(net)
    assert not gradcheck.failures(rows)
    compared = [row for row in rows if row.tensor != "-"]
    assert {row.layer for row in compared} == set(range(7))
    assert all(row.error <= 1e-4 for row in compared)
    assert {r.tensor for r in compared if r.layer == 0} == {"input 0", "weight", "bias", "scale"}
    assert [row.tensor for row in rows if row.layer == 7] == ["-"]  # a head sends its own delta


@pytest.mark.parametrize("factor", [1.001, 0.0, float("nan")])
def test_a_wrong_gradient_is_found(net, factor):
    net.layers[2].weight.register_hook(lambda grad: grad * factor)
    failed = gradcheck.failures(gradcheck.check_network(net, [2]))
    assert [(row.layer, row.tensor) for row in failed] == [(2, "weight")]
    assert "DIFFERS" in gradcheck.report(failed)


def test_darknets_own_factors_are_named_not_hidden():
    net = Network(parse(CFG.replace("activation=leaky", "activation=gelu")))
    rows = gradcheck.check_network(net, [2])
    assert not gradcheck.failures(rows)
    assert "as Darknet: its factor is evaluated at the output" in gradcheck.report(rows)


def test_command(tmp_path, capsys):
    path = tmp_path / "net.cfg"
    path.write_text(CFG)
    assert main(["gradcheck", str(path), "--layers", "0,2-3", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["layer"] for row in rows} == {0, 2, 3} and all(row["passed"] for row in rows)
    assert main(["gradcheck", str(path), "--layers", "9"]) == 1
    assert "the last one is 7" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["gradcheck", str(path), "--layers", "x"])
    assert stopped.value.code == 2


def test_parameters_are_put_back(net):
    before = [p.detach().double().clone() for p in net.parameters()]
    gradcheck.check_network(net)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))

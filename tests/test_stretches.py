"""Activation checkpointing: the same numbers, bit for bit, with less kept between the passes."""

import pytest
import torch

from yolo import cfg
from yolo.network import Network
from yolo.stretches import stretches
from yolo.train import memory

NETWORKS = ("yolov4-tiny", "yolov3-tiny", "shapes")


def build(cfg_folder, name, layout="packed"):
    net = Network(cfg.read(cfg_folder / f"{name}.cfg")).resize(64, 64).train()
    net.layout = layout
    return net


def step(net, again):
    """(gradients and buffers after one pass, the cost)"""
    net.checkpoint_activations = again
    torch.manual_seed(1)
    x = torch.rand(2, 3, 64, 64)
    truth = torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.4], [1, 0, 0.3, 0.6, 0.5, 0.2]])
    report = net.loss(x, truth)
    report.total.backward()
    found = {name: p.grad for name, p in net.named_parameters()}
    return found | dict(net.named_buffers()), report.cost


@pytest.mark.parametrize("layout", ["packed", "planar"])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_run_that_keeps_everything(cfg_folder, name, layout):
    wanted, cost = step(build(cfg_folder, name, layout), False)
    found, again = step(build(cfg_folder, name, layout), True)
    assert again == cost
    for key, value in wanted.items():
        assert torch.equal(value, found[key]), key


def test_every_layer_is_in_one_stretch_and_heads_are_outside(cfg_folder):
    net = build(cfg_folder, "yolov4-tiny")
    parts = stretches(net.layers)
    assert [layer for part, _ in parts for layer in part] == list(net.layers)
    for part, again in parts:
        assert again != hasattr(part[0], "loss")
    assert 4 <= len(parts) <= 12


@pytest.mark.long
def test_a_step_takes_less_memory(cfg_folder):
    peaks = []
    for again in (False, True):
        net = Network(cfg.read(cfg_folder / "yolov4-tiny.cfg")).resize(416, 416)
        net.checkpoint_activations = again
        before = memory._used(torch.device("cpu"))
        peaks.append(memory._peak(net, 4, (416, 416), torch.device("cpu")) - before)
    assert peaks[1] < 0.7 * peaks[0]


def test_nothing_changes_outside_training(cfg_folder):
    net = build(cfg_folder, "shapes").eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted = net(x)
        net.checkpoint_activations = True
        for one, two in zip(wanted, net(x), strict=True):
            assert torch.equal(one, two)

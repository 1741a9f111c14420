"""What the mini-batches of an iteration gave, of one process and of several."""

from types import SimpleNamespace

import pytest
import torch

from tests.micro_net import HEAD
from yolo.cfg import parse
from yolo.loss.head import Averages
from yolo.loss.sampling import RegionAverages
from yolo.network import Network
from yolo.ops.native import threads
from yolo.train import step
from yolo.train.reduce import Reducer

CONV = "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\npad=1\nactivation=leaky\n"


def test_each_head_keeps_its_own_averages_over_all_ranks(monkeypatch):
    outcome = step.Outcome(loss=0.5, images=2)
    outcome.heads = {
        3: Averages(objects=4, boxes=9, iou=2.0),
        7: RegionAverages(images=2, judged=8, right=6, class_loss=0.5),
    }
    monkeypatch.setattr(step.ranks, "count", lambda: 2)
    monkeypatch.setattr(step.ranks, "everyone", lambda mine: [mine, mine])
    whole = outcome.of_all_ranks()
    assert whole.loss == 1 and whole.images == 2
    assert whole.heads[3] == Averages(objects=8, boxes=18, iou=4.0)
    assert whole.heads[7] == RegionAverages(images=4, judged=16, right=12, class_loss=1.0)
    assert whole.heads[7].columns()["class-loss"] == pytest.approx(0.25)


LAYERS = "[net]\nwidth=16\nheight=16\nchannels=3\n" + CONV + "{}" + HEAD


@pytest.mark.parametrize("layer, alone", [("", True), ("[crop]\nflip=0\n", False)])
def test_gradients_are_added_up_beside_no_threads_of_pytorch(layer, alone):
    """Not so where PyTorch computes a layer: its threads are then of use."""
    net = Network(parse(LAYERS.format(layer))).train()
    seen, before = [], torch.get_num_threads()
    next(net.parameters()).register_hook(
        lambda grad: seen.append((torch.get_num_threads(), threads()))
    )
    torch.set_num_threads(3)
    try:
        batch = SimpleNamespace(images=torch.rand(1, 3, 16, 16), truth=torch.zeros(0, 6))
        step.backward(net, net.loss, batch, "cpu", Reducer(net), True)
        assert seen == [(1 if alone else 3, 3)] and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)

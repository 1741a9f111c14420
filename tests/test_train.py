"""The loop: Darknet's numbers, what is saved when, and what happens when a number is not finite."""

import csv
import math

import pytest
import torch

from yolo import cfg, weights
from yolo.data import Batch
from yolo.network import Network
from yolo.ops import PrecisionError
from yolo.train import MetricsFile, Plan, Progress, Trainer, TrainError, map_interval

MICRO = """
[net]
batch=4
subdivisions=2
width=32
height=32
channels=3
learning_rate=0.01
max_batches=100
[convolutional]
batch_normalize=1
filters=8
size=3
stride=8
pad=1
activation=leaky
[convolutional]
filters=7
size=1
activation=linear
[yolo]
mask=0
anchors=12,12
num=1
classes=2
"""


class Batches:
    """The same mini-batch of two images for ever; `spoil` makes one of them NaN at a step."""

    def __init__(self, spoil=None):
        generator = torch.Generator().manual_seed(1)
        self.images = torch.rand(2, 3, 32, 32, generator=generator)
        self.boxes = torch.tensor([[0, 0, 0.3, 0.3, 0.4, 0.4], [1, 1, 0.6, 0.7, 0.3, 0.3]])
        self.waited, self.given, self.spoil = 0.0, 0, spoil

    def __next__(self):
        self.given += 1
        images = self.images.clone()
        if self.given == self.spoil:
            images[0, 0, 0, 0] = math.nan
        return Batch(images, self.boxes, ["a.jpg", "b.jpg"])


@pytest.fixture
def net():
    return Network(cfg.parse(MICRO))


def trainer(net, out, iterations, **settings):
    spoil = settings.pop("spoil", None)
    plan = Plan(out, "micro", iterations, **settings)
    return Trainer(net, Batches(spoil), plan)


def test_loss_falls_and_counters_move(net, tmp_path):
    progress = trainer(net, tmp_path, 60).run()
    losses = [row["loss"] for row in progress.rows]
    assert losses[-1] < 0.3 * losses[0]
    assert net.iteration == 60 and net.seen == 60 * 4 and progress.images == 240


def test_average_loss_is_darknets(net, tmp_path):
    rows = trainer(net, tmp_path, 5).run().rows
    average = rows[0]["loss"]
    assert rows[0]["avg_loss"] == average
    for row in rows[1:]:
        average = 0.9 * average + 0.1 * row["loss"]
        assert row["avg_loss"] == pytest.approx(average, rel=1e-6)


def test_loss_is_the_mean_over_the_mini_batches(net, tmp_path):
    batches = Batches()
    first = next(batches)
    expected = net.train().loss(first.images, first.boxes).cost
    rows = trainer(Network(cfg.parse(MICRO)), tmp_path, 1).run().rows
    assert rows[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_weights_are_saved_on_the_rhythm(net, tmp_path):
    trainer(net, tmp_path, 12, save_every=5, save_last_every=4).run()
    assert {p.name for p in tmp_path.glob("*.weights")} == {
        "micro_5.weights",
        "micro_10.weights",
        "micro_last.weights",
        "micro_final.weights",
    }


def test_a_loss_that_is_not_finite_stops_and_keeps_what_was_good(net, tmp_path):
    with pytest.raises(TrainError) as stop:
        trainer(net, tmp_path, 50, spoil=8).run()
    message = str(stop.value)
    assert "iteration 4" in message and "layer 0" in message and "a.jpg" in message
    kept = Network(cfg.parse(MICRO), seed=9)
    weights.load(kept, tmp_path / "micro_last.weights")
    assert all(p.isfinite().all() for p in kept.state_dict().values())
    expected = Network(cfg.parse(MICRO))
    trainer(expected, tmp_path / "other", 3).run()
    for (name, value), (_, good) in zip(
        kept.state_dict().items(), expected.state_dict().items(), strict=True
    ):
        if "rolling" not in name:
            torch.testing.assert_close(value, good, msg=name)


def test_a_gradient_that_is_not_finite_stops(net, tmp_path):
    broken = trainer(net, tmp_path, 50)
    net.layers[1].weight.register_hook(lambda grad: grad * math.inf)
    with pytest.raises(TrainError, match=r"gradient is not finite.*weight.*layer 1"):
        broken.run()


def test_metrics_go_on_where_the_weights_stand(tmp_path):
    path = tmp_path / "metrics.csv"
    with MetricsFile(path, 0) as metrics:
        for iteration in (1, 2, 3):
            metrics.write(Progress(iteration=iteration, loss=iteration).row())
    with MetricsFile(path, 2) as metrics:
        metrics.write(Progress(iteration=3, loss=30).row())
    rows = list(csv.DictReader(path.open()))
    assert [float(row["loss"]) for row in rows] == [1, 2, 30]


def test_map_interval_is_four_passes_at_least_100():
    assert map_interval(10, 64) == 100
    assert map_interval(64000, 64) == 4000


def test_training_in_fp16_is_refused(net, tmp_path):
    with pytest.raises(PrecisionError, match="fp16 needs scaled losses"):
        Trainer(net, Batches(), Plan(tmp_path, "micro", 1, precision="fp16"))

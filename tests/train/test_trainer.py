"""The loop: Darknet's numbers, what is saved when, what ends a run."""

import csv
import json
import math
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open

from tests.train.small_run import Batches, network, trainer
from yolo import weights
from yolo.checkpoint import read
from yolo.train import TrainError, map_interval


def rows(run):
    return list(run.output.metrics)


def test_loss_falls_and_counters_move(tmp_path):
    run = trainer(tmp_path, 60)
    progress = run.run()
    assert rows(run)[-1]["avg_loss"] < 0.5 * rows(run)[0]["avg_loss"]
    assert run.net.iteration == 60 and run.net.seen == 60 * 4 and progress.images == 240


def test_average_loss_is_darknets(tmp_path):
    run = trainer(tmp_path, 5)
    run.run()
    average = rows(run)[0]["loss"]
    assert rows(run)[0]["avg_loss"] == average
    for row in rows(run)[1:]:
        average = 0.9 * average + 0.1 * row["loss"]
        assert row["avg_loss"] == pytest.approx(average, rel=1e-6)


def test_loss_is_the_mean_over_the_mini_batches(tmp_path):
    still = [("probability=0.2", "probability=0")]
    net, batches = network(still).train(), Batches(0, 0, lambda number: (2, 32, 32))
    costs = [net.loss(b.images, b.truth).cost for b in (next(batches), next(batches))]
    run = trainer(tmp_path, 1, network(still))
    run.run()
    assert rows(run)[0]["loss"] == pytest.approx(sum(costs) / 2, rel=1e-5)


def test_weights_are_saved_on_the_rhythm(tmp_path):
    trainer(tmp_path, 12, save_every=5, save_last_every=4, keep=2).run()
    names = {p.name for p in tmp_path.iterdir() if not p.name.startswith(".")}
    assert names == {
        *("micro_5.weights", "micro_10.weights", "micro_last.weights", "micro_final.weights"),
        *("micro.ckpt", "micro_4.ckpt", "micro_8.ckpt", "metrics.csv"),
    }


def test_a_checkpoint_is_written_when_time_has_passed(tmp_path):
    trainer(tmp_path, 3, save_last_every=1000, save_seconds=0.0, keep=9).run()
    assert {p.name for p in tmp_path.glob("*.ckpt")} >= {"micro_0.ckpt", "micro_1.ckpt"}


def test_a_loss_that_is_not_finite_stops_and_keeps_what_was_good(tmp_path):
    run = trainer(tmp_path / "a", 50, spoil=[14])
    with pytest.raises(TrainError) as stop:
        run.run()
    message = str(stop.value)
    for word in ("iteration 4", "layer 0", "14.jpg", "rate 0.01", "micro_nonfinite_4.safetensors"):
        assert word in message
    kept = network(seed=9)
    weights.load(kept, tmp_path / "a" / "micro_last.weights")
    good = trainer(tmp_path / "b", 3)
    good.run()
    for (name, value), wanted in zip(
        kept.state_dict().items(), good.net.state_dict().values(), strict=True
    ):
        assert torch.equal(value, wanted), name


def test_the_batch_that_was_not_finite_is_kept_as_evidence(tmp_path):
    with pytest.raises(TrainError):
        trainer(tmp_path, 50, spoil=[14]).run()
    with safe_open(tmp_path / "micro_nonfinite_4.safetensors", "pt") as file:
        assert file.get_tensor("images").isnan().sum() == 1
        assert file.get_tensor("truth").shape == (2, 6)
        assert json.loads(file.metadata()["paths"]) == ["14.jpg", "15.jpg"]
        assert "iteration 4" in file.metadata()["text"]


def test_a_gradient_that_is_not_finite_stops(tmp_path):
    run = trainer(tmp_path, 50)
    run.net.layers[2].weight.register_hook(lambda grad: grad * math.inf)
    with pytest.raises(TrainError, match=r"gradient is not finite.*weight.*layer 2"):
        run.run()


def test_an_iteration_that_is_not_finite_may_be_skipped(tmp_path):
    said = []
    run = trainer(tmp_path, 8, spoil=[14], on_nan="skip", say=said.append)
    progress = run.run()
    assert progress.skipped == 1 and rows(run)[-1]["skipped"] == 1
    assert rows(run)[3]["loss"] is None and rows(run)[4]["loss"] > 0
    assert run.net.iteration == 8 and run.position == 32
    assert [p for p in run.given if p >= 16] == list(range(16, 32))
    assert len(said) == 1 and "iteration 4" in said[0] and "skipped" in said[0]
    assert all(value.isfinite().all() for value in run.net.state_dict().values())


def test_skipping_comes_to_an_end(tmp_path):
    run = trainer(tmp_path, 50, spoil=range(8, 400), on_nan="skip")
    with pytest.raises(TrainError, match="iteration 13"):
        run.run()
    assert read(tmp_path / "micro.ckpt").state["iteration"] == 12


class Measured:
    """Measurements that give these mAPs; `found`: after which iterations, at which sizes."""

    def __init__(self, *values):
        self.values, self.found = iter(values), []

    def __call__(self, net, valid, precision):
        self.found.append((net.iteration, tuple(net.input_shape[1:])))
        return SimpleNamespace(score=next(self.values), brief="mAP")


def test_map_comes_on_darknets_rhythm_and_the_best_weights_stay(tmp_path):
    measure = Measured(0.3, 0.5, 0.5, 0.4)
    net = network([("max_batches=100", "max_batches=100\nburn_in=7")])
    run = trainer(tmp_path, 20, net, map_every=5, measure=measure)
    saved = []
    run.output.save_weights = lambda net, suffix: saved.append((net.iteration, suffix))
    progress = run.run()
    assert [iteration for iteration, _ in measure.found] == [7, 12, 17, 20]
    assert [it for it, suffix in saved if suffix == "best"] == [7, 12, 17]
    assert progress.best_map == 0.5 and progress.last_map == 0.4
    assert [row["iteration"] for row in rows(run) if row["map"] is not None] == [7, 12, 17, 20]


def test_the_best_map_is_known_after_going_on(tmp_path):
    settings = dict(map_every=5, measure=Measured(0.5, 0.3))
    first = trainer(tmp_path, 20, **settings)
    first.report = lambda p: setattr(first.stop, "signal", 15 if p.iteration == 6 else None)
    first.run()
    best = (tmp_path / "micro_best.weights").read_bytes()
    second = trainer(tmp_path, 10, **settings, checkpoint=read(tmp_path / "micro.ckpt"))
    assert second.run().best_map == 0.5
    assert (tmp_path / "micro_best.weights").read_bytes() == best


def test_map_is_measured_at_the_cfgs_size(tmp_path):
    measure = Measured(0.5, 0.5)
    net = network([("random=0", "random=1")])
    run = trainer(tmp_path, 12, net, map_every=6, measure=measure)
    run.run()
    assert [size for _, size in measure.found] == [(32, 32), (32, 32)]
    assert run.sizes(0)[1:] == (64, 64) and run.sizes(7)[1:] == (32, 32)


def test_patience(tmp_path):
    measure = Measured(0.3, 0.4, 0.4, 0.2, 0.3, 0.9)
    run = trainer(tmp_path, 100, map_every=5, patience=3, measure=measure)
    run.run()
    assert run.net.iteration == 25 and "no better mAP in 3" in run.ended
    assert not (tmp_path / "micro_final.weights").exists()


def test_max_hours(tmp_path):
    run = trainer(tmp_path, 10**6, max_hours=1e-9)
    run.run()
    assert run.net.iteration == 0 and "hours" in run.ended
    assert read(tmp_path / "micro.ckpt").state["iteration"] == 0


def test_heads_without_objects_have_no_averages(tmp_path):
    run = trainer(tmp_path, 1)
    open_batches = run.open_batches

    def without_boxes(*where):
        batches = open_batches(*where)
        following = batches.__class__.__next__

        class Empty(batches.__class__):
            def __next__(self):
                batch = following(self)
                batch.boxes = torch.zeros(0, 6)
                return batch

        batches.__class__ = Empty
        return batches

    run.open_batches = without_boxes
    run.run()
    row = rows(run)[0]
    assert row["objects_3"] == 0 and row["iou_3"] is None and row["obj_3"] is None
    assert row["no-obj_3"] > 0
    text = (tmp_path / "metrics.csv").read_text()
    assert "nan" not in text.lower() and "inf" not in text.lower()


def test_heads_averages_weigh_objects(tmp_path):
    run = trainer(tmp_path, 1, network([("probability=0.2", "probability=0")]))
    run.run()
    net = network([("probability=0.2", "probability=0")]).train()
    batches = Batches(0, 0, lambda number: (2, 32, 32))
    one, two = (
        net.loss(b.images, b.truth).heads[0].averages for b in (next(batches), next(batches))
    )
    row = rows(run)[0]
    assert row["objects_3"] == one.objects + two.objects > 0
    iou = (one.iou + two.iou) / (one.objects + two.objects)
    assert row["iou_3"] == pytest.approx(iou, rel=1e-4)


def test_metrics_go_on_where_the_weights_stand(tmp_path):
    trainer(tmp_path, 4).run()
    net = network()
    net.iteration, net.seen = 2, 8
    trainer(tmp_path, 3, net).run()
    found = [int(row["iteration"]) for row in csv.DictReader((tmp_path / "metrics.csv").open())]
    assert found == [1, 2, 3]


def test_map_interval_is_four_passes_at_least_100():
    assert map_interval(10, 64) == 100
    assert map_interval(64000, 64) == 4000


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = trainer(tmp_path, 3, tensorboard=True)
    run.run()
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    scalars = found.Scalars("train/loss")
    assert [s.step for s in scalars] == [1, 2, 3]
    assert scalars[0].value == pytest.approx(rows(run)[0]["loss"])
    assert found.Scalars("head 3/no-obj")


def test_without_tensorboard_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"darknet-torch\[tensorboard\]"):
        trainer(tmp_path / "new", 3, tensorboard=True).run()
    assert not (tmp_path / "new" / "micro.ckpt").exists()

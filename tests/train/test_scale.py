"""The factor of the loss: it leaves no trace in the weights, and gives way to overflows."""

import pytest
import torch

from tests.train.small_run import assert_same, trainer
from yolo.checkpoint import Series
from yolo.train import scale
from yolo.train.scale import LossScale
from yolo.train.step import TrainError


class Narrow(torch.autograd.Function):
    """Passes gradients up to a limit; larger ones overflow."""

    @staticmethod
    def forward(ctx, loss, limit):
        ctx.limit = limit
        return loss.clone()

    @staticmethod
    def backward(ctx, grad):
        return torch.where(grad.abs() > ctx.limit, torch.inf, grad), None


def scaled(folder, iterations, limit=None, **settings):
    """A run whose loss is scaled as in fp16, where gradients above `limit` overflow."""
    run = trainer(folder, iterations, **settings)
    run.scale = LossScale("fp16")
    if limit is not None:
        plain = run.net.loss

        def loss(x, boxes):
            report = plain(x, boxes)
            report.total = Narrow.apply(report.total, limit)
            return report

        run.net.loss = loss
    return run


def test_the_factor_leaves_no_trace(tmp_path):
    """Powers of 2: not a bit differs."""
    plain, run = trainer(tmp_path / "a", 5), scaled(tmp_path / "b", 5)
    plain.run()
    run.run()
    assert run.scale.value == scale.FIRST
    assert_same(plain, run)


def test_an_overflow_halves_it_and_the_iteration_is_done_again(tmp_path):
    plain, run = trainer(tmp_path / "a", 5), scaled(tmp_path / "b", 5, limit=100)
    plain.run()
    run.run()
    assert run.scale.value == 64 and run.progress.skipped == 0
    assert_same(plain, run)


def test_it_grows_again(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "PERIOD", 2)
    run = scaled(tmp_path, 5, limit=100)
    overflowed, lower = [], run.scale.lower

    def lowered():
        overflowed.append(run.scale.value)
        return lower()

    monkeypatch.setattr(run.scale, "lower", lowered)
    run.run()
    # down to 64 in the first iteration; doubled after the second and the fourth, which overflows
    assert overflowed == [1024, 512, 256, 128, 128, 128] and run.scale.value == 64


def test_what_overflows_at_the_least_factor_too_ends_the_run(tmp_path):
    run = scaled(tmp_path, 3, limit=0)
    with pytest.raises(TrainError, match="iteration 1: the gradient is not finite"):
        run.run()
    assert run.scale.value == scale.LEAST


def test_a_run_that_goes_on_keeps_it(tmp_path):
    run = scaled(tmp_path, 2, limit=100)
    run.run()
    _, found = Series(tmp_path, "micro").newest(print)
    again = LossScale("fp16")
    again.restore(found.state["loss_scale"])
    assert again.kept() == run.scale.kept() == [64.0, 2]
    other = LossScale("bf16")
    other.restore(found.state["loss_scale"])
    assert other.value == 1 and other.kept() is None and not other.lower()

"""What the mini-batches of an iteration gave, of one process and of several."""

import pytest

from yolo.loss.head import Averages
from yolo.loss.sampling import RegionAverages
from yolo.train import step


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

"""gradients.csv: the norms of the gradients that the update took, whatever interrupts the run."""

import csv
import math

import pytest
import torch

from tests.train.small_run import network, trainer
from yolo.checkpoint import Series


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_norms_are_those_of_the_update(tmp_path):
    run = trainer(tmp_path, 5, log_gradients=2)
    seen, step = [], run.optimizer.step

    def note(rate, images):
        norms = {}
        for layer in run.net.layers:
            parts = [p.grad.double().pow(2).sum() for p in layer.parameters()]
            if parts:
                norms[layer.index] = math.sqrt(sum(parts)) / images
        seen.append(norms)
        step(rate, images)

    run.optimizer.step = note
    run.run()
    rows = table(tmp_path / "gradients.csv")
    assert list(rows[0]) == ["iteration", "0_convolutional", "2_convolutional"]
    assert [int(row["iteration"]) for row in rows] == [2, 4]
    for row in rows:
        wanted = seen[int(row["iteration"]) - 1]
        assert float(row["0_convolutional"]) == pytest.approx(wanted[0], rel=1e-5)
        assert float(row["2_convolutional"]) == pytest.approx(wanted[2], rel=1e-5)
        assert wanted[0] > 0


def test_without_the_flag_there_is_no_file(tmp_path):
    trainer(tmp_path, 2).run()
    assert not (tmp_path / "gradients.csv").exists()


def test_a_run_that_goes_on_has_every_line_once(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trainer(whole, 6, log_gradients=1).run()
    trainer(parts, 3, log_gradients=1).run()
    path = parts / "gradients.csv"
    path.write_text(path.read_text() + "4,7,7\n5,7\n")  # lines that no checkpoint came after
    found = Series(parts, "micro").newest(print)
    trainer(parts, 6, checkpoint=found[1], log_gradients=1).run()
    assert path.read_text() == (whole / "gradients.csv").read_text()
    trainer(parts, 2, log_gradients=1).run()  # a new run writes it anew
    assert [row["iteration"] for row in table(path)] == ["1", "2"]


def test_a_disk_that_refuses_does_not_end_the_training(tmp_path, monkeypatch):
    said = []
    run = trainer(tmp_path, 3, log_gradients=1, say=said.append)
    add, tries = run.gradients.metrics._append, []

    def refused_once(row):
        add(row)
        tries.append(row)
        if len(tries) == 2:
            raise OSError("disk full")

    monkeypatch.setattr(run.gradients.metrics, "_append", refused_once)
    run.run()
    assert any("gradients.csv could not be written: disk full" in line for line in said)
    assert [row["iteration"] for row in table(tmp_path / "gradients.csv")] == ["1", "2", "3"]


def test_a_layer_that_the_loss_does_not_reach_is_empty(tmp_path):
    net = network([("probability=0.2\n", "probability=0.2\nstopbackward=1\n")])
    trainer(tmp_path, 1, net, log_gradients=1).run()
    row = table(tmp_path / "gradients.csv")[0]
    assert row.get("0_convolutional", "") == "" and float(row["2_convolutional"]) > 0
    assert torch.isfinite(net.layers[0].weight).all()

"""`benchmark`: every program has a row, and one that computes something else is found out."""

import json

import numpy as np
import pytest
import torch

from yolo.__main__ import main
from yolo.cfg import parse
from yolo.network import Network
from yolo.weights import save

benchmark = pytest.importorskip("yolo.benchmark", reason="needs the extra [export]")
from yolo.export.check import PROGRAMS, Missing  # noqa: E402

CFG = """
[net]
width=64
height=32
channels=3
[convolutional]
batch_normalize=1
filters=8
size=8
stride=8
activation=leaky
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,1
anchors=8,8, 20,12
num=2
classes=2
"""


@pytest.fixture
def files(tmp_path):
    """A network that finds something, as cfg and weights."""
    net = Network(parse(CFG))
    net.layers[0].rolling_var.fill_(1 / 3)
    with torch.no_grad():
        net.layers[1].bias += 0.5
    cfg, weights = tmp_path / "c.cfg", tmp_path / "c.weights"
    cfg.write_text(CFG)
    save(net, weights)
    return [str(cfg), str(weights)]


def rows_of(capsys, *arguments):
    """(exit code, {name: row}) of a run of the command."""
    code = main(["benchmark", *arguments, "--repeats", "1", "--json"])
    return code, {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_every_program_agrees_and_is_timed(files, capsys):
    code, rows = rows_of(capsys, *files, "--batch", "2")
    assert not code and {"ours fast", "ours exact", "ours bf16", "torch", *PROGRAMS} == set(rows)
    for name, row in rows.items():
        if row["note"]:
            assert name == "ours bf16" or row["note"] == "not installed", row
            continue
        assert row["distance"] < (0.02 if name == "ours bf16" else 1e-5), row
        assert row["images_per_second"] == pytest.approx(2e3 / row["milliseconds"])
        kind, _, count = row["detections"].partition(" ")
        assert name == "ours bf16" or (kind == "same" and int(count) > 3), row


def test_random_weights_do_and_the_table_has_every_row(files, capsys):
    assert not main(["benchmark", files[0], "--repeats", "1", "--width", "96"])
    title, head, *lines = capsys.readouterr().out.splitlines()
    assert "32x96, batch 1, cpu" in title and head.split()[:3] == ["program", "images/s", "ms"]
    assert [line[:13].strip() for line in lines][-3:] == list(PROGRAMS)
    assert "not compared" in lines[0]


def program(change):
    """A program that computes something else."""

    def start(model, names, threads):
        run = PROGRAMS["opencv"](model, names)
        return lambda inputs: [change(y) for y in run(inputs)]

    return start


def absent(model, names, threads):
    raise Missing


def broken(model, names, threads):
    raise RuntimeError("first line\nsecond line")


def test_programs_that_differ_fail_or_are_absent(files, capsys, monkeypatch):
    others = {
        "shifted": program(lambda y: y + np.float32(1e-3)),
        "nan": program(lambda y: np.where(y == y.max(), np.nan, y)),
        "short": program(lambda y: y[:, 1:]),
        "absent": absent,
        "broken": broken,
    }
    monkeypatch.setattr(benchmark, "PROGRAMS", others)
    code, rows = rows_of(capsys, files[0])
    assert code == 1
    assert [rows[name]["agrees"] for name in others] == [False, False, False, None, None]
    assert rows["absent"]["note"] == "not installed" and rows["absent"]["milliseconds"] is None
    assert rows["broken"]["note"] == "does not run the graph: first line"
    assert rows["ours fast"]["agrees"]


def test_programs_take_turns():
    calls = []
    running = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = benchmark.in_turns(running, 3)
    assert "".join(calls) == "aabb" + "bbaa" + "aabb"
    assert [len(times[name]) for name in "ab"] == [3, 3]

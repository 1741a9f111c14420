"""`map` by several ranks: the figure of one process, to the last digit, for every judge."""

import json

import cv2
import numpy as np
import pytest
import torch

from tests.micro_net import micro, written
from tests.ranks.launched import Job
from yolo.evaluate import wire
from yolo.evaluate.wire import Seen
from yolo.predict import Candidates


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set of seven pictures with boxes near what the network finds, the third broken."""
    folder, net = tmp_path_factory.mktemp("data"), micro()
    for k in range(7):
        rng = np.random.default_rng(k)
        image = rng.integers(0, 256, (60, 80, 3), np.uint8)
        cv2.imwrite(str(folder / f"{k}.png"), image)
        found = net.predict(image[..., ::-1].copy(), thresh=0.2).clipped()
        x1, y1, x2, y2 = (found.boxes_xyxy / np.array([80, 60, 80, 60])).T
        rows = np.stack([found.classes, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1)[::4]
        lines = [f"{int(r[0])} " + " ".join(f"{v:.6f}" for v in r[1:]) for r in rows]
        (folder / f"{k}.txt").write_text("\n".join(lines) + "\n")
    (folder / "2.png").write_bytes(b"no picture")
    (folder / "valid.txt").write_text("".join(f"{k}.png\n" for k in range(7)))
    (folder / "set.data").write_text("classes=3\nvalid=valid.txt\n")
    return str(folder / "set.data")


def facts(folder, rank=0):
    return json.loads((folder / f"{rank}.json").read_text())


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("protocol", ["darknet", "coco"])
def test_the_figure_of_one_process(together, data, protocol, batch):
    arguments = dict(data=data, batch=batch, protocol=protocol)
    alone = facts(together(1, "measure", **arguments))
    assert alone["skipped"] and "2.png" in alone["skipped"][0]
    folder = together(3, "measure", **arguments)
    for rank in range(3):
        assert facts(folder, rank) == alone  # floats through JSON are exact


def test_classifiers(together):
    alone = facts(together(1, "classify", length=7))
    folder = together(2, "classify", length=7)
    for rank in range(2):
        assert facts(folder, rank)["result"] == alone["result"]


def test_what_travels_arrives_as_it_was():
    candidates = Candidates(torch.rand(3, 4), torch.rand(3, 2))
    seen = Seen(7, candidates, torch.rand(2, 5), None, (60, 80), "ü.png")
    empty = Seen(8, Candidates(torch.zeros(0, 4), torch.zeros(0, 2)), torch.zeros(0, 5),
                 torch.rand(1, 5), (1, 2), None)  # fmt: skip
    error = wire.ImageError("x.png: broken")
    found, errors = wire.unpack(wire.pack(([seen, empty], [error])))
    assert [type(e) for e in errors] == [wire.ImageError] and str(errors[0]) == str(error)
    for one, two in zip((seen, empty), found, strict=True):
        assert (one.index, one.shape, one.path) == (two.index, two.shape, two.path)
        assert torch.equal(one.found.probs, two.found.probs)
        assert torch.equal(one.found.boxes_xywh, two.found.boxes_xywh)
        assert torch.equal(one.truth, two.truth)
    assert found[0].difficult is None and torch.equal(found[1].difficult, empty.difficult)


@pytest.mark.long
def test_the_command_under_torchrun(tmp_path, data):
    numbers, files = [], written(tmp_path)
    for ranks in (1, 2):
        path = tmp_path / f"{ranks}.json"
        command = ["map", *files, "--data", data, "--json", str(path), "--threads", "1"]
        with Job(command, tmp_path / "log", ranks) as job:
            assert job.end(200) == 0, job.log.read_text()
        numbers.append(path.read_text())
        assert job.log.read_text().count("mean average precision") == 1
    assert numbers[0] == numbers[1]

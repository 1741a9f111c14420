"""Confusion by hand, and the map command's pictures and flags."""

import json

import cv2
import pytest
import torch

from yolo.__main__ import main
from yolo.evaluate.confusion import Confusion
from yolo.evaluate.images import Seen
from yolo.predict import Candidates


def seen(found, truths):
    """found: (probabilities, x); truths: (class, x); all boxes 0.2 wide."""
    boxes = torch.tensor([[x, 0.5, 0.2, 0.2] for _, x in found]).reshape(-1, 4)
    probs = torch.tensor([p for p, _ in found]).reshape(-1, 2)
    truth = torch.tensor([[c, x, 0.5, 0.2, 0.2] for c, x in truths]).reshape(-1, 5)
    return Seen(0, Candidates(boxes, probs), truth, None, (10, 10), "a")


def test_counts_by_hand():
    confusion = Confusion(2)
    confusion.see(
        seen(
            [
                ((0.9, 0.0), 0.21),  # right
                ((0.8, 0.3), 0.25),  # overlaps the same truth less: nothing is there
                ((0.4, 0.6), 0.5),  # taken for class 1
                ((0.2, 0.1), 0.8),  # not sure enough: its truth is lost
            ],
            [(0, 0.2), (0, 0.5), (1, 0.8)],
        )
    )
    assert confusion.counts.tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("found, truths", [([], []), ([((0.9, 0.1), 0.5)], []), ([], [(1, 0.5)])])
def test_nothing_there(found, truths):
    confusion = Confusion(2)
    confusion.see(seen(found, truths))
    assert confusion.counts.sum() == len(found) + len(truths)


@pytest.mark.parametrize("protocol", ["darknet", "coco", "voc07", "voc12"])
def test_pictures_of_every_protocol(project, capsys, protocol):
    if protocol == "coco":
        pytest.importorskip("pycocotools")
    model = [str(project / "micro.cfg"), str(project / "micro.weights")]
    flags = ["--data", str(project / "set.data"), "--protocol", protocol]
    flags += ["--plots", str(project / "plots"), "--json", str(project / "a.json")]
    assert main(["map", *model, *flags]) == 0
    for name in ("precision-recall.png", "confusion.png"):
        assert cv2.imread(str(project / "plots" / name)).std() > 5
    content = json.loads((project / "a.json").read_text())
    assert content["names"] == ["red fox", "b", "c"] and len(content["confusion"]) == 4
    assert 0 < content.get("map", content.get("stats", {}).get("AP")) < 1


@pytest.mark.parametrize(
    "flags",
    [
        ["--protocol", "coco", "--iou", "0.7"],
        ["--protocol", "voc07", "--points", "11"],
        ["--annotations", "x.json"],
    ],
)
def test_flags_without_meaning_are_refused(project, capsys, flags):
    model = [str(project / "micro.cfg"), str(project / "micro.weights")]
    assert main(["map", *model, "--data", str(project / "set.data"), *flags]) == 1
    assert "has no meaning with --protocol" in capsys.readouterr().err

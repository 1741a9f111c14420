"""Recall of boxes of any class, against a literal walk over the cells."""

import json
import math

import pytest
import torch

from yolo import load
from yolo.__main__ import main
from yolo.data import Dataset
from yolo.data.image import fit
from yolo.evaluate.recall import recall


def scalar_iou(a, b):
    width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    both = max(width, 0) * max(height, 0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def proposals(net, image):
    """Boxes above 0.001 by falling objectness, those that overlap an earlier one by 0.4 dropped."""
    head = net.layers[-1]
    x = torch.from_numpy(fit(image, *net.input_shape[1:])[0])[None]
    with torch.no_grad():
        y = net(x)[0][0].reshape(2, 8, *head.out_shape[1:])
    found = []
    for a, (anchor_w, anchor_h) in enumerate(head.anchors):
        for row in range(y.shape[2]):
            for col in range(y.shape[3]):
                bx, by, bw, bh, obj = y[a, :5, row, col].tolist()
                if obj > 0.001:
                    box = (col + bx) / y.shape[3], (row + by) / y.shape[2]
                    found.append(
                        (obj, (*box, math.exp(bw) * anchor_w / 64, math.exp(bh) * anchor_h / 64))
                    )
    found.sort(key=lambda entry: -entry[0])
    kept = []
    for _, box in found:
        if all(scalar_iou(box, other) <= 0.4 for other in kept):
            kept.append(box)
    return kept


def test_counts_are_those_of_a_literal_walk(project):
    net = load(project / "micro.cfg", project / "micro.weights")
    valid = Dataset.from_data(project / "set.data", "valid")
    result = recall(net, valid)
    truths = found = total = 0
    overlap = 0.0
    for k in range(len(valid)):
        boxes = proposals(net, valid[k].image)
        total += len(boxes)
        for truth in valid[k].boxes[:, 1:].tolist():
            best = max(scalar_iou(box, truth) for box in boxes)
            truths, found, overlap = truths + 1, found + (best > 0.5), overlap + best
    assert (result.images, result.truths, result.found) == (5, truths, found)
    assert result.proposals == total and found > 0
    assert result.average_iou == pytest.approx(overlap / truths, abs=1e-5)


def test_command(project, capsys):
    model = [str(project / "micro.cfg"), str(project / "micro.weights")]
    flags = ["--data", str(project / "set.data"), "--json", str(project / "r.json"), "--each"]
    assert main(["recall", *model, *flags]) == 0
    captured = capsys.readouterr()
    assert "RPs/Img: " in captured.err and captured.err.count("Recall:") == 5
    content = json.loads((project / "r.json").read_text())
    assert f"recall {100 * content['recall']:.2f} %" in captured.out


def test_no_objects_at_all(project):
    for path in project.glob("img_*.txt"):
        path.write_text("")
    valid = Dataset.from_data(project / "set.data", "valid")
    result = recall(load(project / "micro.cfg", project / "micro.weights"), valid)
    assert (result.recall, result.average_iou, result.truths) == (0.0, 0.0, 0)

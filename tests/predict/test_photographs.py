"""Real photographs, with the detections of a Darknet run."""

import json

import pytest
import torch

import yolo
from yolo.boxes import iou


@pytest.mark.parametrize("model", ["yolo-fastest-1.1", "yolo-fastest-1.1-xl"])
def test_photographs_give_what_darknet_found(shared, model):
    folder = shared / "data"
    net = yolo.load(*(folder / "weights" / f"{model}.{kind}" for kind in ("cfg", "weights")))
    reference = json.loads((folder / "photos/reference" / f"{model}.json").read_text())
    for frame in reference:
        path = folder / "photos" / frame["filename"]
        ours = net.predict(path, thresh=0.1).darknet_json()["objects"]
        wanted = [entry for entry in frame["objects"] if entry["confidence"] >= 0.25]
        # JPEG decoders differ in a grey level here and there; PNG pixels are the same.
        limit = 1e-4 if path.suffix == ".png" else 0.01
        pairs = [paired(entry, ours) for entry in wanted]
        assert len(set(pairs)) == len(wanted), frame["filename"]
        for entry, index in zip(wanted, pairs, strict=True):
            assert overlap(entry, ours[index]) >= 0.99
            assert abs(entry["confidence"] - ours[index]["confidence"]) <= limit
        others = [e for i, e in enumerate(ours) if i not in pairs and e["confidence"] > 0.26]
        assert not others, frame["filename"]


def paired(entry, candidates):
    """Index of the candidate of the same class that overlaps most."""
    return max(
        (i for i, c in enumerate(candidates) if c["class_id"] == entry["class_id"]),
        key=lambda i: overlap(entry, candidates[i]),
    )


def overlap(a, b):
    keys = ("center_x", "center_y", "width", "height")
    boxes = [torch.tensor([e["relative_coordinates"][k] for k in keys]) for e in (a, b)]
    return float(iou(*boxes))

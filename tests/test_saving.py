"""`detect` on images, folders and videos: every file it saves says what was found."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch

from yolo.__main__ import main
from yolo.cfg import parse
from yolo.data.labels import read as read_labels
from yolo.network import Network
from yolo.weights import save

# A cell is an object of class 0 where it is red, of class 1 where it is green.
CFG = """
[net]
width=64
height=32
channels=3
[convolutional]
filters=7
size=8
stride=8
activation=linear
[yolo]
mask=0
anchors=8,8
num=1
classes=2
"""
NAMES = ["red/cell", "green"]
EVERYTHING = "images,video,json,coco,csv,txt,crops"


@pytest.fixture
def detector(tmp_path):
    """cfg, weights and names as arguments of detect."""
    net = Network(parse(CFG))
    with torch.no_grad():
        conv = net.layers[0]
        conv.weight.zero_()
        conv.bias.copy_(torch.tensor([0.0, 0, 0, 0, -8, -8, -8]))
        conv.weight[4, :2] = 16 / 64  # an object where red or green is full
        conv.weight[5, 0] = conv.weight[6, 1] = 16 / 64
    cfg, weights, names = (tmp_path / n for n in ("c.cfg", "c.weights", "c.names"))
    cfg.write_text(CFG)
    save(net, weights)
    names.write_text("\n".join(NAMES) + "\n")
    return [str(cfg), str(weights), "--names", str(names)]


def scene(*cells):
    """(32, 64, 3) RGB, cells (row, column, class) of 8 x 8 pixels in full red or green."""
    image = np.zeros((32, 64, 3), np.uint8)
    for row, column, label in cells:
        image[8 * row : 8 * row + 8, 8 * column : 8 * column + 8, label] = 255
    return image


def write(path, image):
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), image[:, :, ::-1])


def run(detector, *rest):
    return main(["detect", *detector[:2], *map(str, rest), *detector[2:]])


def test_a_folder_with_everything_saved(detector, tmp_path, capsys):
    write(tmp_path / "in" / "000007.png", scene((1, 2, 0), (3, 6, 1)))
    write(tmp_path / "in" / "000009.png", scene())
    out = tmp_path / "out"
    assert run(detector, tmp_path / "in", "--save", EVERYTHING, "--out", out) == 0
    assert "2 frames in" in capsys.readouterr().out

    first, second = json.loads((out / "detections.json").read_text())
    assert [(o["class_id"], o["name"]) for o in first["objects"]] in (
        [(0, "red/cell"), (1, "green")],
        [(1, "green"), (0, "red/cell")],
    )
    assert second["objects"] == []
    records = json.loads((out / "coco.json").read_text())
    red = next(r for r in records if r["category_id"] == 1)
    assert red["image_id"] == 7 and red["bbox"] == pytest.approx([16, 8, 8, 8], abs=0.1)
    rows = list(csv.DictReader((out / "detections.csv").open()))
    green = next(r for r in rows if r["name"] == "green")
    assert len(rows) == 2 and float(green["x1"]) == pytest.approx(48, abs=0.1)
    labels = np.array(read_labels(out / "labels" / "000007.txt", 2)[0])
    boxes = {int(row[0]): row[1:] for row in labels}
    assert boxes[0] == pytest.approx([20 / 64, 12 / 32, 8 / 64, 8 / 32], abs=1e-3)
    assert (out / "labels" / "000009.txt").read_text() == ""
    crop = cv2.imread(str(next((out / "crops" / "red_cell").iterdir())))
    assert crop.shape[:2] == (8, 8) and crop[4, 4, 2] > 200
    assert (out / "000007.jpg").exists() and (out / "000009.jpg").exists()


def test_sources_of_one_name_do_not_overwrite_each_other(detector, tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder / "x.png", scene((0, 0, 0)))
    out = tmp_path / "out"
    assert run(detector, tmp_path / "a", tmp_path / "b", "--out", out) == 0
    assert sorted(p.name for p in out.iterdir()) == ["x-2.jpg", "x.jpg"]


def test_a_video_frame_by_frame(detector, tmp_path, capsys):
    path, out = tmp_path / "clip.avi", tmp_path / "out"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (64, 32))
    for number in range(6):
        writer.write(np.ascontiguousarray(scene((1, number, 1))[:, :, ::-1]))
    writer.release()
    assert run(detector, path, "--save", "video,json,csv", "--out", out, "--batch", 4) == 0
    lines = [json.loads(line) for line in (out / "clip.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(6))
    assert lines[3]["seconds"] == pytest.approx(0.6)
    for number, line in enumerate(lines):  # JPEG frames: neighbours may colour a little
        best = max(line["detections"], key=lambda d: d["score"])
        assert best["name"] == "green"
        assert best["box_xyxy"] == pytest.approx([8 * number, 8, 8 * number + 8, 16], abs=0.5)
    drawn = cv2.VideoCapture(str(out / "clip.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert drawn.get(cv2.CAP_PROP_FPS) == pytest.approx(5.0)
    assert "6 frames in" in capsys.readouterr().out


def test_a_broken_image_does_not_stop_the_others(detector, tmp_path, capsys):
    write(tmp_path / "in" / "a.png", scene((0, 0, 0)))
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    assert run(detector, tmp_path / "in", "--save", "txt", "--out", tmp_path / "out") == 1
    assert "b.png" in capsys.readouterr().err
    assert (tmp_path / "out" / "labels" / "a.txt").read_text().startswith("0 ")


def test_unknown_words_and_empty_patterns(detector, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(detector, "x.jpg", "--save", "gif")
    assert stopped.value.code == 2
    assert run(detector, tmp_path / "*.none") == 1
    assert "nothing matches" in capsys.readouterr().err

"""`detect` and predict on a camera: what is saved, what is said, and how it is stopped."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
import torch

import yolo
from tests.live.live_source import mjpeg
from yolo.__main__ import main
from yolo.cfg import parse
from yolo.data import Live, SourceError
from yolo.network import Network
from yolo.weights import save

# A cell of 8 x 8 pixels is an object where it is red.
CFG = """
[net]
width=64
height=32
channels=3
[convolutional]
filters=6
size=8
stride=8
activation=linear
[yolo]
mask=0
anchors=8,8
num=1
classes=1
"""


def red_cell(number, size=(32, 64)):
    """(H, W, 3) BGR: one red cell, one further to the right each time."""
    image = np.zeros((*size, 3), np.uint8)
    column = 8 * (number % 8)
    image[8:16, column : column + 8, 2] = 255
    return image


@pytest.fixture
def detector(tmp_path):
    """cfg and weights as arguments of detect."""
    net = Network(parse(CFG))
    with torch.no_grad():
        conv = net.layers[0]
        conv.weight.zero_()
        conv.bias.copy_(torch.tensor([0.0, 0, 0, 0, -8, 8]))
        conv.weight[4, 0] = 16 / 64
    cfg, weights = tmp_path / "c.cfg", tmp_path / "c.weights"
    cfg.write_text(CFG)
    save(net, weights)
    return [str(cfg), str(weights)]


def run(detector, *rest):
    return main(["detect", *detector, *map(str, rest)])


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_frame_of_a_camera_until_it_is_gone(detector, camera, tmp_path, capsys):
    camera(5, 4, draw=red_cell, rate=1000.0)  # no rate that can be: 25 is taken
    out = tmp_path / "out"
    flags = ["--frames", "every", "--retries", "1", "--batch", "2"]
    assert run(detector, "0", *flags, "--save", "video,json,csv,txt", "--out", out) == 1
    said = capsys.readouterr()
    assert "warning: camera://0: no frame comes after 5 frames, try 1/1" in said.err
    assert said.err.splitlines()[-1].startswith("error: camera://0:")
    assert "9 frames in" in said.out and "gave 9 frames, 0 were dropped" in said.out
    lines = records(out / "camera_0.jsonl")
    assert [line["frame"] for line in lines] == list(range(9))
    assert lines[0]["seconds"] == 0 < lines[-1]["seconds"]
    for line in lines:
        assert len(line["detections"]) == 1 and line["path"] == "camera://0"
    assert lines[3]["detections"][0]["box_xyxy"] == pytest.approx([24, 8, 32, 16], abs=0.5)
    assert len(list(csv.DictReader((out / "detections.csv").open()))) == 9
    assert len(list((out / "labels").iterdir())) == 9


def test_a_signal_ends_it_with_everything_saved(detector, camera, tmp_path, capsys):
    made = camera(10**6, every=0.002, draw=red_cell)
    out = tmp_path / "out"

    def interrupt():
        while made.given < 100:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    code = run(detector, "0", "--save", "video,json,csv", "--out", out)
    assert code == 130 and made.released == 1
    said = capsys.readouterr()
    assert "what was found is saved" in said.err
    lines = records(out / "camera_0.jsonl")
    numbers = [line["frame"] for line in lines]
    assert numbers == sorted(set(numbers)) and len(lines) >= 3
    gave, dropped, _ = (int(w) for w in said.out.splitlines()[-1].split() if w.isdigit())
    assert gave - dropped == len(lines) and dropped > 0
    assert (out / "camera_0.mp4").stat().st_size > 0


def test_a_video_of_a_camera_is_as_long_as_it_was(tmp_path):
    from yolo.data.frame import Frame
    from yolo.detections import Detections
    from yolo.saving import savers

    (saver,) = savers(["video"], tmp_path)
    for number, seconds, width in ((0, 0.0, 64), (1, 0.1, 64), (9, 1.0, 64), (10, 1.01, 96)):
        image = np.full((32, width, 3), 20 * number, np.uint8)
        frame = Frame("camera://0", image, None, number, 10.0, seconds)
        saver.add(frame, Detections.empty((32, width)))
    saver.close()
    video, levels = cv2.VideoCapture(str(tmp_path / "camera_0.mp4")), []
    while (read := video.read())[0]:
        levels.append(read[1].mean())
    assert len(levels) == 12
    assert levels[2:10] == pytest.approx([20] * 8, abs=6) and levels[10] == pytest.approx(
        180, abs=6
    )


def test_predict_looks_at_a_camera_frame_by_frame(detector, camera):
    camera(4, draw=red_cell)
    net = yolo.load(*detector)
    with pytest.raises(ValueError, match="stream=True"):
        net.predict(0)
    seen = []
    with pytest.raises(SourceError):
        for found in net.predict(Live(0, "every", retries=0), stream=True):
            seen.append(found)
    assert [f.frame for f in seen] == [0, 1, 2, 3] and seen[0].seconds == 0.0
    assert seen[2].boxes_xyxy[0] == pytest.approx([16, 8, 24, 16], abs=0.5)
    kept = seen[2][seen[2].scores > 0.5].scaled((64, 128))
    assert kept.frame == 2 and kept.to_dict()["frame"] == 2 and "frame 2" in repr(kept)


def test_cameras_are_looked_at_one_at_a_time(detector, capsys):
    assert run(detector, "0", "a.jpg") == 1
    assert "only source" in capsys.readouterr().err


@pytest.mark.long
def test_a_process_that_watches_a_stream_says_one_line_when_it_ends(detector, tmp_path):
    """Without OpenCV's and FFmpeg's own words."""
    command = [sys.executable, "-m", "yolo", "detect", *detector]
    with mjpeg(6, draw=red_cell) as url:
        flags = ["--frames", "every", "--retries", "0", "--save", "json", "--out", str(tmp_path)]
        done = subprocess.run([*command, url, *flags], capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "no frame comes after 6 frames" in done.stderr and "secret" not in done.stderr
    assert len(records(next(tmp_path.glob("*.jsonl")))) == 6
    done = subprocess.run([*command, "63"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: camera://63: cannot be opened\n"

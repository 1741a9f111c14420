"""What recurrent layers have seen of one video is no part of the next."""

import cv2
import numpy as np
import pytest
import torch

from yolo.__main__ import main
from yolo.cfg import parse
from yolo.data.sources import frames
from yolo.network import Network
from yolo.ops import backend
from yolo.weights import save

CFG = """
[net]
width=64
height=32
channels=3

[convolutional]
filters=4
size=3
stride=4
pad=1
activation=leaky

[history]
history_size=3

[convolutional]
filters=14
size=1
activation=linear

[yolo]
classes=2
anchors=10,14, 23,27
num=2
mask=0,1
"""


def network():
    net = Network(parse(CFG), seed=1).eval()
    with torch.no_grad():
        net.layers[2].weight.mul_(4)
    return net


@pytest.fixture
def videos(tmp_path):
    """Two of three frames, and an image."""
    generator = np.random.default_rng(5)
    for name in ("a.avi", "b.avi"):
        writer = cv2.VideoWriter(
            str(tmp_path / name), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 32)
        )
        for _ in range(3):
            writer.write(cv2.resize(generator.integers(0, 255, (4, 8, 3), np.uint8), (64, 32)))
        writer.release()
    cv2.imwrite(str(tmp_path / "c.png"), generator.integers(0, 255, (32, 64, 3), np.uint8))
    return [str(tmp_path / name) for name in ("a.avi", "b.avi", "c.png")]


def scores(found):
    return [each.scores.tolist() for each in found]


def alone(path):
    """What a network finds that has seen nothing else."""
    found = network().predict(path, thresh=0.1, nms=1.0)
    return scores(found if isinstance(found, list) else [found])


@pytest.mark.parametrize("name", ["native", "torch"])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_each_video_begins_anew(videos, batch, name):
    a, b, c = videos
    with backend(name):
        net, settings = network(), {"thresh": 0.1, "nms": 1.0, "batch": batch}
        wanted = [*alone(a), *alone(b), *alone(c)]
        assert scores(net.predict(videos, **settings)) == wanted
        assert scores(net.predict([b, b], **settings)) == 2 * alone(b)
        assert scores(net.predict(a, **settings)) == wanted[:3]  # after other videos


def test_within_a_video_the_state_goes_on(videos):
    net = network()
    seen = list(frames(videos[:1]))
    one_by_one = [net.predict([frame], thresh=0.1, nms=1.0)[0] for frame in seen]
    assert scores(one_by_one) == alone(videos[0])
    first = scores([net.predict(seen[2].image, thresh=0.1, nms=1.0)])
    net.reset_state()
    again = scores([net.predict(seen[2].image, thresh=0.1, nms=1.0)])
    assert again != first and again != scores(one_by_one)[2:]


def test_where_videos_begin(videos):
    a, b, c = videos
    begins = [frame.begins for frame in frames([c, c, a, b, b, c, c])]
    video = [True, False, False]
    assert begins == [False, False, *video, *video, *video, True, False]


@pytest.mark.parametrize("batch", ["1", "2"])
def test_detect_tells_videos_apart(videos, batch, tmp_path, capsys):
    (tmp_path / "n.cfg").write_text(CFG)
    save(network(), tmp_path / "n.weights")
    words = ["detect", str(tmp_path / "n.cfg"), str(tmp_path / "n.weights")]
    how = ["--thresh", "0.1", "--nms", "1", "--batch", batch, "--save", "csv"]
    rows = {}
    for name, paths in {"both": videos[:2], "a": videos[:1], "b": videos[1:2]}.items():
        assert main([*words, *paths, *how, "--out", str(tmp_path / name)]) == 0
        rows[name] = (tmp_path / name / "detections.csv").read_text().splitlines()[1:]
    assert rows["both"] == rows["a"] + rows["b"] and rows["b"]

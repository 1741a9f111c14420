"""Heads other than [yolo] learn drawn shapes from nothing, by the command that users type."""

import re

import pytest

from yolo.__main__ import main

NET = """
[net]
batch=16
width=96
height=96
channels=3
saturation=1.3
exposure=1.3
hue=.05
decay=0.0005
learning_rate={rate}
burn_in=40
max_batches={iterations}
policy=steps
steps={drop}
scales=.2
"""
REGION = """
[region]
anchors=1,1, 1.5,1.5, 2,2
classes=2
num=3
softmax=1
bias_match=1
rescore=1
object_scale=5
thresh=.6
jitter=.1
"""
GAUSSIAN = """
[Gaussian_yolo]
mask=0,1,2
anchors=16,16, 24,24, 32,32
classes=2
num=3
ignore_thresh=.6
iou_loss=giou
iou_normalizer=.5
uc_normalizer=.1
jitter=.1
"""
DETECTION = """
[connected]
output=432
activation=linear

[detection]
classes=2
coords=4
num=2
side=6
sqrt=1
rescore=1
coord_scale=5
noobject_scale=.5
jitter=.1
"""

RCNN = """
[rpn]
anchors=28,28, 44,44
border=-1
pre_nms=72
train_proposals=40
proposals=20
[roi_align]
features=6
rois=8
width=3
height=3
[connected]
batch_normalize=1
output=64
activation=leaky
[connected]
output=11
activation=linear
[fast_rcnn]
rois=8
classes=2
sample=32
fraction=.5
jitter=.1
"""


def conv(filters, size=3, stride=1, norm=1, act="leaky"):
    return (
        f"[convolutional]\nbatch_normalize={norm}\nfilters={filters}\nsize={size}\n"
        f"stride={stride}\npad=1\nactivation={act}\n"
    )


TRUNK = conv(16, 3, 2) + conv(32, 3, 2) + conv(32) + conv(64, 3, 2) + conv(64)
TRUNK += conv(96, 3, 2) + conv(96)
# section: (layers from the last convolution on, rate, iterations, mAP to reach)
HEADS = {
    "region": (conv(21, 1, norm=0, act="linear") + REGION, 0.004, 300, 0.5),
    "Gaussian_yolo": (conv(33, 1, norm=0, act="linear") + GAUSSIAN, 0.004, 300, 0.5),
    "fast_rcnn": (conv(10, 1, norm=0, act="linear") + RCNN, 0.02, 300, 0.4),
    "detection": (conv(32, 1) + DETECTION, 0.01, 400, 0.1),
}


def measured(text):
    return float(re.search(r"mean average precision .* = ([\d.]+),", text)[1])


@pytest.mark.long
@pytest.mark.parametrize("name", HEADS)
def test_a_head_learns_drawn_shapes(name, tmp_path, capsys):
    layers, rate, iterations, goal = HEADS[name]
    results = []
    for count in (1, iterations):
        path = tmp_path / f"{name}{count}.cfg"
        head = NET.format(rate=rate, iterations=count, drop=3 * count // 4)
        path.write_text(head + TRUNK + layers)
        flags = ["--out", str(tmp_path / str(count)), "--workers", "0", "--threads", "1"]
        assert main(["train", str(path), *flags]) == 0
        results.append(measured(capsys.readouterr().out))
    assert results[0] < 0.01 and results[1] > goal, results

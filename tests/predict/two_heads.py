"""A network with two heads, its pictures, and outputs that were chosen."""

import numpy as np
import torch

from yolo.cfg import parse
from yolo.network import Network

MICRO = """
[net]
batch=1
width=64
height=32
channels=3
letter_box={letter_box}

[convolutional]
batch_normalize=1
filters=8
size=3
stride=8
pad=1
activation=leaky

[convolutional]
filters=21
size=1
activation={activation}

[yolo]
mask=1,2,0
anchors=6,9, 20,11, 14,30
num=3
classes={classes}
scale_x_y={scale}
new_coords={new_coords}

[route]
layers=0

[maxpool]
size=2
stride=2

[convolutional]
filters=7
size=1
activation={activation}

[yolo]
mask=2
anchors=6,9, 20,11, 14,30
num=3
classes=2
new_coords={new_coords}
nms_kind={nms}
"""


def micro(seed=0, scale=1.0, new_coords=0, letter_box=0, nms="default", classes=2):
    text = MICRO.format(
        activation="logistic" if new_coords else "linear",
        scale=scale,
        new_coords=new_coords,
        letter_box=letter_box,
        nms=nms,
        classes=classes,
    )
    net = Network(parse(text.replace("filters=21", f"filters={3 * (classes + 5)}")), seed=seed)
    for layer in net.layers:
        if hasattr(layer, "rolling_var"):
            layer.rolling_var.fill_(1)
    return net.eval()


def picture(height=48, width=60, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def same(a, b, **close):
    np.testing.assert_allclose(a.boxes_xyxy, b.boxes_xyxy, **(close or {"rtol": 0, "atol": 0}))
    np.testing.assert_allclose(a.scores, b.scores, **(close or {"rtol": 0, "atol": 0}))
    np.testing.assert_array_equal(a.classes, b.classes)


def planted(net, head=0, anchor=0, row=1, col=2, **values):
    """Outputs of the heads with nothing found, but for one box."""
    outputs = [torch.zeros(1, *net.layers[index].out_shape) for index in net.heads]
    entries = ("x", "y", "w", "h", "objectness", "class0", "class1")
    for name, value in values.items():
        outputs[head][0, anchor * 7 + entries.index(name), row, col] = value
    return outputs

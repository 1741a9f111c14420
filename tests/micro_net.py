"""A network small enough for every test, with arbitrary opinions."""

import torch

from yolo import weights
from yolo.cfg import parse
from yolo.network import Network

MICRO = """
[net]
width=64
height=64
channels=3

[convolutional]
filters=8
size=5
stride=16
pad=1
activation=leaky

[convolutional]
filters=16
size=1
activation=linear

[yolo]
mask=0,1
anchors=10,14, 30,24
num=2
classes=3
"""

# The end of other small networks: 3 anchors of 2 classes, 21 channels
HEAD = """[convolutional]
filters=21
size=1
activation=linear
[yolo]
mask=0,1,2
anchors=2,3, 4,4, 7,6
classes=2
num=3
"""


def micro():
    """Half of its opinions are above 0.25."""
    net = Network(parse(MICRO), seed=3)
    with torch.no_grad():
        net.layers[1].weight.mul_(3)
    return net.eval()


def written(folder):
    """[cfg, weights]: paths of the network in a folder's files."""
    paths = [str(folder / f"micro.{kind}") for kind in ("cfg", "weights")]
    (folder / "micro.cfg").write_text(MICRO)
    weights.save(micro(), paths[1])
    return paths

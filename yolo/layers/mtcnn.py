"""[mtcnn]  one stage of MTCNN: for each cell, is there a face, and where exactly.

    x (2 + 4 + 2 * landmarks, H, W): scores of "no face" and "face"; offsets of the left, top, right
    and bottom edge; x of each landmark, then y of each, in units of the window's side and from its
    left top corner.

P-Net is convolutions alone: over an image of any size each cell answers for a window of 12 pixels,
2 pixels from the next. R-Net and O-Net end in [connected] and answer once, for the whole input.
Darknet has no such section.
"""

import torch

from ..loss import mtcnn
from .layer import Layer


class Mtcnn(Layer):
    """Softmax over the two scores; the other values as they are."""

    is_output = True

    def __init__(self, section, place):
        super().__init__(section, place)
        self.landmarks = section.int("landmarks", 0, 0, 1000)
        self.face_scale = section.float("face_scale", 1.0, 0.0)
        self.box_scale = section.float("box_scale", 0.5, 0.0)
        self.landmark_scale = section.float("landmark_scale", 0.5, 0.0)
        self.hardest = section.float("hardest", 0.7, 0.0)  # share of the samples that count
        if self.hardest > 1:
            raise section.error(f"hardest={self.hardest:g}: expected a share, 0 to 1", "hardest")
        self.begin(place)

    @property
    def entries(self):
        """Values of a cell."""
        return 6 + 2 * self.landmarks

    def shape(self, x):
        if x[0] != self.entries:
            raise self.section.error(
                f"needs {self.entries} channels for landmarks={self.landmarks}, and the layer "
                f"before gives {x[0]}: its filters must be 6 + 2 * landmarks = {self.entries}",
                "landmarks",
            )
        return x

    def forward(self, x):
        return torch.cat((x[:, :2].softmax(1), x[:, 2:]), 1)

    def loss(self, x, truth, state):
        """truth (N, 5 + 2 * landmarks): see loss/mtcnn.py."""
        return mtcnn.loss(self, x, truth)

    def saved(self):
        return 0

    def describe(self):
        return "", f"{self.landmarks} landmarks"

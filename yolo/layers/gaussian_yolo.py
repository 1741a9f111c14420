"""[Gaussian_yolo]  [yolo] that also says how sure it is of each side of a box.

Channels: for each anchor of `mask`  x, s(x), y, s(y), w, s(w), h, s(h), objectness, class 0, ...
where s() is the standard deviation of the value before it ("Gaussian YOLOv3", Choi et al. 2019).
"""

import torch

from ..loss.gaussian_yolo import loss as gaussian_loss
from .yolo import Yolo

SIGMAS = (1, 3, 5, 7)


class GaussianYolo(Yolo):
    """A detection head with an uncertainty for each box."""

    nms_kinds = ("default", "greedynms", "diounms", "cornersnms")
    box_entries = (0, 2, 4, 6)
    objectness_entry = 8
    new_coords, focal_loss = False, False

    def read_own(self, section):
        """Keys that only [Gaussian_yolo] has."""
        self.uc_normalizer = section.float("uc_normalizer", 1.0)
        points = ("center", "left_top", "right_bottom")
        self.yolo_point = section.choice("yolo_point", points, "center")

    @property
    def point(self):
        """Which point of a box lies in its cell, in sizes of the box from the centre."""
        return {"center": 0.0, "left_top": -0.5, "right_bottom": 0.5}[self.yolo_point]

    def activate_boxes(self, x):
        y = x.sigmoid()
        place = self.scale_x_y * y[:, :, (0, 2)] - (self.scale_x_y - 1) / 2
        parts = [place[:, :, :1], y[:, :, 1:2], place[:, :, 1:], y[:, :, 3:4]]
        parts += [x[:, :, 4:5], y[:, :, 5:6], x[:, :, 6:7], y[:, :, 7:]]
        return torch.cat(parts, 2)

    def placed(self, value, cell, grid, sizes):
        boxes = super().placed(value, cell, grid, sizes)
        return torch.cat([boxes[:, :, :2] - self.point * boxes[:, :, 2:], boxes[:, :, 2:]], 2)

    def scores(self, value):
        """A box counts as much as it is sure of itself."""
        sure = 1 - value[:, :, SIGMAS].mean(2, keepdim=True)
        return value[:, :, 8], value[:, :, 9:] * sure

    def loss(self, x, boxes, state):
        """boxes: (M, 6) image index, class, x, y, w, h, relative to the image."""
        return gaussian_loss(self, x, boxes, state)

"""[yolo]  raw map -> box offsets, objectness, class scores; its loss lies in loss/yolo.py.

Channels: for each anchor of `mask`  x, y, w, h, objectness, class 0, class 1, ...
"""

import torch

from ..loss.yolo import loss as yolo_loss
from .head import AnchorHead

# Darknet reads these for its window, and to follow objects from frame to frame.
IGNORED = (
    *("track_history_size", "sim_thresh", "dets_for_track", "dets_for_show"),
    *("track_ciou_norm", "embedding_layer"),
)


class Yolo(AnchorHead):
    """A detection head over a grid of cells."""

    masked = True
    nms_kinds = ("default", "greedynms", "diounms")

    def __init__(self, section, place):
        super().__init__(section, place)
        self.read_classes(section, 20)
        self.read_anchors(section)
        self.read_mask(section)
        self.scale_x_y = section.float("scale_x_y", 1.0)
        self.nms_kind = section.choice("nms_kind", self.nms_kinds, "default")
        self.beta_nms = section.float("beta_nms", 0.6)
        self.read_loss(section)
        self.read_own(section)
        self.read_training(section)
        self.begin(place)

    def read_mask(self, section):
        self.mask = section.ints("mask", self.mask)
        if not self.mask or not all(0 <= n < self.num for n in self.mask):
            raise section.error(f"mask must name anchors 0..{self.num - 1}", "mask")

    def read_loss(self, section):
        """Keys that [yolo] and [Gaussian_yolo] share."""
        self.iou_loss = section.choice("iou_loss", ("mse", "iou", "giou", "diou", "ciou"), "mse")
        kinds = ("iou", "giou", "diou", "ciou")
        self.iou_thresh_kind = section.choice("iou_thresh_kind", kinds, "iou")
        self.iou_thresh = section.float("iou_thresh", 1.0)
        self.ignore_thresh = section.float("ignore_thresh", 0.5)
        self.truth_thresh = section.float("truth_thresh", 1.0)
        self.iou_normalizer = section.float("iou_normalizer", 0.75)
        self.obj_normalizer = section.float("obj_normalizer", 1.0)
        self.cls_normalizer = section.float("cls_normalizer", 1.0)
        self.delta_normalizer = section.float("delta_normalizer", 1.0)
        self.label_smooth_eps = section.float("label_smooth_eps", 0.0, 0.0, 1.0)
        self.objectness_smooth = section.bool("objectness_smooth", False)
        self.max_delta = section.float("max_delta", None, 0.0)  # None: no limit
        self.counters_per_class = section.ints("counters_per_class", None)
        counters = self.counters_per_class
        if counters is not None and len(counters) != self.classes:
            raise section.error(
                f"counters_per_class has {len(counters)} values for {self.classes} classes",
                "counters_per_class",
            )

    def read_own(self, section):
        """Keys that only [yolo] has."""
        self.new_coords = section.bool("new_coords", False)
        self.focal_loss = section.bool("focal_loss", False)
        self.show_details = section.bool("show_details", True)  # chooses the reported cost
        section.ignore(*IGNORED)

    def anchor_unit(self, grid, input_size):
        return 1, 1

    def stretch(self, t):
        return 4 * t**2 if self.new_coords else t.exp()

    def activate_boxes(self, x):
        """w and h stay as they came; with new_coords everything comes activated."""
        xy, wh, objectness = x[:, :, :2], x[:, :, 2:4], x[:, :, 4:]
        if not self.new_coords:
            xy, objectness = xy.sigmoid(), objectness.sigmoid()
        xy = self.scale_x_y * xy - (self.scale_x_y - 1) / 2
        return torch.cat([xy, wh, objectness], 2)

    def activate_classes(self, x, dim):
        return x if self.new_coords else x.sigmoid()

    def loss(self, x, boxes, state):
        """boxes: (M, 6) image index, class, x, y, w, h, relative to the image."""
        return yolo_loss(self, x, boxes, state)

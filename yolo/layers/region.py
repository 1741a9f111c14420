"""[region]  the head of YOLOv2: a softmax over classes, anchors in cells; loss in loss/region.py.

Channels: for each anchor  x, y, w, h, objectness, class 0, class 1, ...
"""

import torch

from ..loss.region import loss as region_loss
from .head import AnchorHead
from .tree import read_tree

# Darknet reads these and does nothing with them.
IGNORED = ("absolute", "log", "sqrt", "mask_scale")


class Region(AnchorHead):
    """A detection head over a grid of cells, all anchors of the network in one."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.read_classes(section, 20)
        self.tree = read_tree(section, self.classes)
        self.read_anchors(section)
        if section.int("coords", 4) != 4:
            raise section.error("coords must be 4: a box is x, y, w, h", "coords")
        self.softmax = section.bool("softmax", False)
        self._read_loss(section)
        self.read_training(section)
        section.ignore(*IGNORED)
        self.begin(place)

    def _read_loss(self, section):
        self.thresh = section.float("thresh", 0.5)
        self.rescore = section.bool("rescore", False)
        self.bias_match = section.bool("bias_match", False)
        self.classfix = section.int("classfix", 0)
        self.focal_loss = section.bool("focal_loss", False)
        self.coord_scale = section.float("coord_scale", 1.0)
        self.object_scale = section.float("object_scale", 1.0)
        self.noobject_scale = section.float("noobject_scale", 1.0)
        self.class_scale = section.float("class_scale", 1.0)

    def anchor_unit(self, grid, input_size):
        return input_size[1] / grid[1], input_size[0] / grid[0]

    def activate_boxes(self, x):
        """x, y, w, h stay raw."""
        return torch.cat([x[:, :, :4], x[:, :, 4:].sigmoid()], 2)

    def activate_classes(self, x, dim):
        """Without a softmax or a tree they stay raw."""
        if self.tree:
            return self.tree.softmax(x, dim)
        return x.softmax(dim) if self.softmax else x

    def center(self, t):
        return t.sigmoid()

    def scores(self, value):
        """As Darknet has it: a box is never left out for its objectness alone, so that it is 1 and
        the scores are multiplied by it already. With a tree, the most special class that is more
        probable than not has its own probability, and no other class any."""
        objectness, scores = super().scores(value)
        if self.classfix == -1:
            objectness = objectness * (objectness >= 0.5)
        if not self.tree:
            return torch.ones_like(objectness), scores * objectness[:, :, None]
        found = self.tree.deepest(self.tree.probabilities(scores, 2), 2)
        tiny = torch.finfo(found.dtype).tiny  # nothing is found where objectness is 0
        return objectness, found / objectness[:, :, None].clamp(min=tiny)

    def loss(self, x, boxes, state):
        """boxes: (M, 6) image index, class, x, y, w, h, relative to the image."""
        return region_loss(self, x, boxes, state)

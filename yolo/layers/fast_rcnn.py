"""[fast_rcnn]  values of every region -> class probabilities and a box for each class, the head of
Fast and Faster R-CNN; its loss lies in loss/fast_rcnn.py.

Values of a region: scores of the classes, score of the background; then x, y, w, h of class 0, of
class 1, ...: how far the object lies from the region, in units of `box_std`.
"""

from math import prod

import torch

from .. import boxes as box
from ..loss.fast_rcnn import loss as fast_rcnn_loss
from ..loss.sampling import RegionAverages, Sampling
from .head import Head
from .roi import named_regions


class FastRcnn(Head):
    """The classes of regions of interest, and their boxes once more."""

    averages = RegionAverages
    boxes_per_cell = 1
    without_anchors = "those of the [rpn] are set in the cfg; `anchors --num` finds some"
    nms_kinds = ("default", "greedynms", "diounms")

    def __init__(self, section, place):
        super().__init__(section, place)
        self.read_classes(section, 20)
        rois, self.named = named_regions(self, place)
        self.sources = [self.sources[0], rois]
        self._read_sampling(section)
        self._read_loss(section)
        self.read_training(section)
        self.begin(place)
        if self.named.sampling:
            raise section.error("another [fast_rcnn] draws from this [rpn] already", "rois")
        self.named.sampling = self.sampling

    def _read_sampling(self, section):
        positive = section.float("positive_thresh", 0.5, 0.0, 1.0)
        negative = section.float("negative_thresh", 0.5, 0.0, 1.0)
        lowest = section.float("negative_lowest", 0.0, 0.0, 1.0)
        if not lowest <= negative <= positive:
            raise section.error(
                "negative_lowest, negative_thresh, positive_thresh must not fall", "negative_thresh"
            )
        count, fraction = section.int("sample", 128, 1), section.float("fraction", 0.25, 0.0, 1.0)
        self.sampling = Sampling(count, fraction, positive, negative, lowest)

    def _read_loss(self, section):
        self.box_std = section.floats("box_std", [0.1, 0.1, 0.2, 0.2])
        if len(self.box_std) != 4 or not all(std > 0 for std in self.box_std):
            raise section.error("box_std must be four numbers above 0: x, y, w, h", "box_std")
        self.sigma = section.float("sigma", 1.0, 1e-3)
        self.class_normalizer = section.float("class_normalizer", 1.0)
        self.box_normalizer = section.float("box_normalizer", 1.0)
        self.nms_kind = section.choice("nms_kind", self.nms_kinds, "default")
        self.beta_nms = section.float("beta_nms", 0.6)

    def join(self, place):
        if place.regions.get(self.sources[0]) is not self.named:
            raise self.section.error(
                f"the layer before does not work on the regions of layer {self.sources[1]}: "
                "[roi_align] or [roi_pool] with the same rois must come before it"
            )
        return None

    @staticmethod
    def inputs_for(section, classes):
        return 5 * classes + 1

    def shape(self, x, rois):
        wanted = self.inputs_for(self.section, self.classes)
        if prod(x) != wanted:
            raise self.section.error(
                f"needs {wanted} values of each region for classes={self.classes}, and the layer "
                f"before gives {prod(x)}: its output must be 5 * classes + 1 = {wanted}",
                "classes",
            )
        return 5 * self.classes, self.named.proposals, 1

    def split(self, value):
        """(R, values) -> scores (R, classes + 1), the last of the background; offsets
        (R, classes, 4)."""
        scores, offsets = value.split([self.classes + 1, 4 * self.classes], 1)
        return scores, offsets.unflatten(1, (self.classes, 4))

    def spread(self, like):
        """The unit of the offsets."""
        return torch.tensor(self.box_std).to(like)

    def forward(self, x, rois):
        """(N, 5 classes, proposals, 1): x, y, w, h relative to the input, probability, class by
        class; probability 0 for the empty regions at the end."""
        x, rois = (t if t.dtype == torch.float64 else t.float() for t in (x, rois))
        scores, offsets = self.split(x.flatten(1))
        regions = box.xyxy_to_xywh(rois.flatten(1)[:, 1:])
        boxes = box.moved(regions[:, None], offsets * self.spread(x))
        boxes = box.xyxy_to_xywh(box.xywh_to_xyxy(boxes).clamp(0, 1))
        there = (regions[:, 2:] > 0).all(1)
        probs = scores.softmax(1)[:, :-1] * there[:, None]
        found = torch.cat((boxes, probs[:, :, None]), 2).flatten(1)
        return found.unflatten(0, (-1, self.named.proposals)).transpose(1, 2)[..., None]

    def decode(self, output, input_size):
        """Output of forward -> boxes, objectness, scores, as AnchorHead.decode has them; every
        class of a region is a box of its own, which no other class has a score for."""
        value = output.unflatten(1, (self.classes, 5)).squeeze(-1).permute(0, 3, 1, 2)
        probs = torch.diag_embed(value[..., 4]).flatten(1, 2)
        boxes = value[..., :4].flatten(1, 2)
        return boxes, torch.ones_like(boxes[..., 0]), probs

    def loss(self, x, rois, boxes, state):
        """boxes: (M, 6) image index, class, x, y, w, h, relative to the image."""
        return fast_rcnn_loss(self, x, rois, boxes, state)

    def describe(self):
        return "", f"{self.classes} classes"

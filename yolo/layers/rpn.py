"""[rpn]  raw map -> regions of interest, the region proposal network of Faster R-CNN; its loss lies
in loss/rpn.py.

Channels: for each anchor  x, y, w, h, objectness: how far the object lies from the anchor, in sizes
of the anchor; its size in logarithms of the anchor's; the objectness before its logistic.
"""

import torch

from .. import boxes as box
from ..loss.rpn import loss as rpn_loss
from ..loss.sampling import RegionAverages, Sampling
from .head import MAX_ANCHORS
from .layer import Layer
from .roi import Regions

ENTRIES = 5
MOST = 1 << 14  # regions of an image


class Rpn(Layer):
    """Proposes regions of every image: `proposals` each, surest first, empty boxes at the end."""

    averages = RegionAverages

    def __init__(self, section, place):
        super().__init__(section, place)
        if not (place.options.width and place.options.height):
            raise section.error("needs images: width and height in [net]")
        self._read_anchors(section)
        self._read_proposals(section)
        self._read_loss(section)
        self.input_size = place.options.height, place.options.width  # in pixels
        self.begin(place)
        sides = zip(self.input_size, self.in_shapes[0][1:], strict=True)
        self.cell = [side / cells for side, cells in sides]  # height, width in pixels

    def resized(self, in_shapes, out_shape):
        super().resized(in_shapes, out_shape)
        grid = in_shapes[0][1:]
        self.input_size = [cell * cells for cell, cells in zip(self.cell, grid, strict=True)]

    def _read_anchors(self, section):
        sides = section.floats("anchors")
        if not sides or len(sides) % 2 or len(sides) > 2 * MAX_ANCHORS:
            raise section.error(
                f"anchors must be pairs of width, height, at most {MAX_ANCHORS}; it has "
                f"{len(sides)} numbers",
                "anchors",
            )
        if not all(side > 0 for side in sides):
            raise section.error("every side of an anchor must be larger than 0", "anchors")
        self.anchors = list(zip(sides[::2], sides[1::2], strict=True))

    def _read_proposals(self, section):
        self.pre_nms = section.int("pre_nms", 6000, 1)
        self.nms_thresh = section.float("nms_thresh", 0.7, 0.0, 1.0)
        self.proposals = section.int("proposals", 300, 1, MOST)
        self.train_proposals = section.int("train_proposals", 2000, 1, MOST)
        self.min_size = section.float("min_size", 0.0, 0.0)

    def _read_loss(self, section):
        positive = section.float("positive_thresh", 0.7, 0.0, 1.0)
        negative = section.float("negative_thresh", 0.3, 0.0, 1.0)
        if negative > positive:
            raise section.error("negative_thresh is above positive_thresh", "negative_thresh")
        count, fraction = section.int("sample", 256, 1), section.float("fraction", 0.5, 0.0, 1.0)
        self.sampling = Sampling(count, fraction, positive, negative)
        self.border = section.float("border", 0.0)  # pixels; below 0: no limit
        self.sigma = section.float("sigma", 3.0, 1e-3)
        self.class_normalizer = section.float("class_normalizer", 1.0)
        self.box_normalizer = section.float("box_normalizer", 1.0)
        self.max = section.int("max", 200, 1)

    def join(self, place):
        super().join(place)  # refuses regions of another [rpn]
        return Regions(self.index, self.proposals)

    def shape(self, x):
        wanted = ENTRIES * len(self.anchors)
        if x[0] != wanted:
            raise self.section.error(
                f"needs {wanted} channels for {len(self.anchors)} anchors, and the layer before "
                f"gives {x[0]}: its filters must be {ENTRIES} * {len(self.anchors)} = {wanted}",
                "anchors",
            )
        return ENTRIES, 1, 1

    def split(self, x):
        """(N, n * 5, H, W) -> (N, n * H * W, 5), over anchors, rows, columns."""
        x = x if x.dtype == torch.float64 else x.float()
        n = len(self.anchors)
        return x.reshape(len(x), n, ENTRIES, *x.shape[2:]).permute(0, 1, 3, 4, 2).flatten(1, 3)

    def joined(self, value, like):
        """What split gave, as (N, n * 5, H, W) again."""
        n, (rows, cols) = len(self.anchors), like.shape[2:]
        return value.view(-1, n, rows, cols, ENTRIES).permute(0, 1, 4, 2, 3).reshape(like.shape)

    def anchor_boxes(self, x):
        """(n * H * W, 4) xywh relative to the input, in the order of split."""
        rows, cols = x.shape[2:]
        like = {"device": x.device, "dtype": torch.float64}
        side = torch.tensor([self.cell[1] * cols, self.cell[0] * rows], **like)
        size = torch.tensor(self.anchors, **like) / side
        y, x_ = (torch.arange(n, **like).add(0.5) / n for n in (rows, cols))
        n = len(self.anchors)
        parts = (
            x_.expand(n, rows, cols),
            y[:, None].expand(n, rows, cols),
            *(size[:, i, None, None].expand(n, rows, cols) for i in (0, 1)),
        )
        number = torch.float64 if x.dtype == torch.float64 else torch.float32
        return torch.stack(parts, -1).flatten(0, 2).to(number)

    def inside(self, anchors):
        """Whether each anchor reaches over the edge of the image by no more than `border`."""
        if self.border < 0:
            return torch.ones(len(anchors), dtype=torch.bool, device=anchors.device)
        height, width = self.input_size
        reach = anchors.new_tensor([self.border / width, self.border / height]) + 1e-6
        edges = box.xywh_to_xyxy(anchors)
        return ((edges[:, :2] >= -reach) & (edges[:, 2:] <= 1 + reach)).all(1)

    @torch.no_grad()
    def forward(self, x):
        value = self.split(x)
        rois = value.new_zeros(len(x), self.proposals, 5)
        for b, found in enumerate(self.propose(value, self.anchor_boxes(x), self.proposals)):
            rois[b, :, 0] = b
            rois[b, : len(found), 1:] = found
        return rois.flatten(0, 1)[:, :, None, None]

    def propose(self, value, anchors, count):
        """[(k, 4) xyxy] of each image, k at most `count`, the surest first."""
        for image in value:
            score, order = image[:, 4].topk(min(self.pre_nms, len(image)))
            edges = box.xywh_to_xyxy(box.moved(anchors[order], image[order, :4])).clamp(0, 1)
            boxes = box.xyxy_to_xywh(edges)
            height, width = self.input_size
            size = boxes[:, 2:] * boxes.new_tensor([width, height])
            use = score.isfinite() & boxes.isfinite().all(1) & (size > 0).all(1)
            use &= (size >= self.min_size).all(1)
            kept = box.nms(boxes[use], score[use].sigmoid()[:, None], self.nms_thresh)[:, 0] > 0
            yield edges[use][kept][:count]

    def regions_for_training(self, value, anchors, truths):
        """(R, 5, 1, 1) drawn from the proposals and the truths for the [fast_rcnn] behind; None:
        there is none."""
        sampling, rows = self.regions.sampling, []
        if sampling is None:
            return None
        for b, found in enumerate(self.propose(value, anchors, self.train_proposals)):
            edges = box.xywh_to_xyxy(truths.xywh[b][truths.usable[b]].to(found))
            chosen = sampling.regions(found, edges)
            rows.append(torch.cat((chosen.new_full((len(chosen), 1), b), chosen), 1))
        return torch.cat(rows)[:, :, None, None]

    def loss(self, x, boxes, state):
        """boxes: (M, 6) image index, class, x, y, w, h, relative to the image."""
        return rpn_loss(self, x, boxes, state)

    def saved(self):
        return 0

    def describe(self):
        return "", f"{len(self.anchors)} anchors"

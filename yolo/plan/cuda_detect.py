"""Boxes of a batch found on the device: the [yolo] heads of a CudaPlan, decoded and suppressed.

What comes back to the CPU is a count for each image, and then the few cells above the threshold.
"""

import torch

from ..layers.yolo import Yolo
from ..ops.cuda.structs import ANCHORS, GRIDS, MOST


def exponent(head):
    """Of DIoU, as the head's nms_kind has it; negative where boxes are compared by IoU."""
    return {"default": -1.0, "greedynms": 0.6, "diounms": head.beta_nms}[head.nms_kind]


def grid_of(head, x, input_size):
    """What Kernels.detect takes of a [yolo] head and its raw map (n, channels, h, w)."""
    sizes = head.anchor_sizes(x.shape[2:], input_size)[head.mask]
    return x, sizes.tolist(), head.scale_x_y, head.new_coords


class Found:
    """Memory of the device for the cells above the threshold."""

    def __init__(self, images, capacity, classes, device):
        def empty(*shape, dtype=torch.float32):
            return torch.empty((images, *shape), dtype=dtype, device=device)

        self.counts, self.cells = empty(dtype=torch.int32), empty(capacity, dtype=torch.int32)
        self.boxes, self.probs = empty(capacity, 4), empty(capacity, classes)
        self.kept = empty(capacity, classes, dtype=torch.uint8)


class DeviceHeads:
    """The heads of a plan as one call; `detectable` says whether there can be one.

    grids: one grid_of() for each, maps NHWC. beta: their exponent(). most: cells above the
    threshold that an image has room for."""

    def __init__(self, grids, classes, beta, kernels, most=MOST):
        self.grids, self.beta, self.kernels = grids, beta, kernels
        self.images, device = len(grids[0][0]), grids[0][0].device
        cells = sum(len(sizes) * x.shape[2] * x.shape[3] for x, sizes, *_ in grids)
        self.found = Found(self.images, min(cells, most), classes, device)
        self.settings = torch.zeros(2 + 8 * self.images, device=device)

    def set(self, places, thresh, nms):
        """Thresholds, and where the images of a batch lie on the input; for those that are missing
        nothing is looked for: their boxes are those of the first."""
        rows = [
            (p.width, p.height, p.left, p.top, p.new_width, p.new_height)
            + (p.width / p.new_width, p.height / p.new_height)
            for p in places
        ]
        rows += rows[:1] * (self.images - len(rows))
        values = torch.tensor([thresh, nms, *(v for row in rows for v in row)])
        self.settings.copy_(values, non_blocking=True)

    def launch(self):
        self.kernels.detect(self.grids, self.settings, self.found, self.beta)

    def read(self, images):
        """[(boxes_xywh relative to the image, probs, probs after suppression)] of the first
        `images`, on the CPU, in Darknet's order; None where one has too many cells."""
        counts = self.found.counts[:images].tolist()
        most = max(counts)
        if most > self.found.probs.shape[1]:
            return None
        parts = (self.found.boxes, self.found.probs, self.found.kept)
        boxes, probs, kept = (part[:images, :most].cpu() for part in parts)
        results = []
        for i, count in enumerate(counts):
            use = probs[i, :count].any(1)
            before = probs[i, :count][use]
            results.append((boxes[i, :count][use], before, before * kept[i, :count][use]))
        return results


def detectable(heads):
    """Whether DeviceHeads takes these layers: [yolo] of few anchors, alike in their classes."""
    yolos = all(type(layer) is Yolo and layer.boxes_per_cell <= ANCHORS for layer in heads)
    return yolos and 0 < len(heads) <= GRIDS and len({layer.classes for layer in heads}) == 1

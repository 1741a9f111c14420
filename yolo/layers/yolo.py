"""[yolo]  raw map -> box offsets, objectness, class scores; its loss lies in loss/yolo.py.

Channels: for each anchor of `mask`  x, y, w, h, objectness, class 0, class 1, ...
"""

from pathlib import Path

import torch

from ..loss.yolo import loss as yolo_loss
from .layer import Layer

# Darknet reads these for its window, and to follow objects from frame to frame.
IGNORED = (
    *("track_history_size", "sim_thresh", "dets_for_track", "dets_for_show"),
    *("track_ciou_norm", "embedding_layer"),
)
MAX_ANCHORS = 1000


class Yolo(Layer):
    """A detection head over a grid of cells."""

    is_output = True

    def __init__(self, section, place):
        super().__init__(section, place)
        self.classes = section.int("classes", 20, 1)
        self._read_anchors(section)
        self._read_activation(section)
        self._read_loss(section)
        self._read_training(section)
        section.ignore(*IGNORED)
        self.begin(place)

    def _read_anchors(self, section):
        """anchors: (w, h) in pixels of the network's input, `num` of them; mask: those of here."""
        self.num = section.int("num", 1, 1, MAX_ANCHORS)
        self.mask = section.ints("mask", list(range(self.num)))
        if not self.mask or not all(0 <= n < self.num for n in self.mask):
            raise section.error(f"mask must name anchors 0..{self.num - 1}", "mask")
        sides = section.floats("anchors", [])[: 2 * self.num]
        if 0 < len(sides) < 2 * self.num:
            section.warn(
                f"has {len(sides)} of {2 * self.num} anchor sides; 0.5 for others", "anchors"
            )
        if not all(side > 0 for side in sides):
            raise section.error("every side of an anchor must be larger than 0", "anchors")
        sides += [0.5] * (2 * self.num - len(sides))
        self.anchors = list(zip(sides[::2], sides[1::2], strict=True))

    def _read_activation(self, section):
        self.scale_x_y = section.float("scale_x_y", 1.0)
        self.new_coords = section.bool("new_coords", False)
        self.nms_kind = section.choice("nms_kind", ("default", "greedynms", "diounms"), "default")
        self.beta_nms = section.float("beta_nms", 0.6)

    def _read_loss(self, section):
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
        self.focal_loss = section.bool("focal_loss", False)
        self.show_details = section.bool("show_details", True)  # chooses the reported cost
        self.max_delta = section.float("max_delta", None, 0.0)  # None: no limit
        self.counters_per_class = section.ints("counters_per_class", None)
        counters = self.counters_per_class
        if counters is not None and len(counters) != self.classes:
            raise section.error(
                f"counters_per_class has {len(counters)} values for {self.classes} classes",
                "counters_per_class",
            )

    def _read_training(self, section):
        self.max = section.int("max", 200, 1)  # boxes of an image that count
        self.jitter = section.float("jitter", 0.2)
        self.resize = section.float("resize", 1.0)
        self.random = section.float("random", 0.0)
        self.map = _read_map(section)  # class number -> class number of this head, or None

    def shape(self, x):
        wanted = len(self.mask) * (self.classes + 5)
        if x[0] != wanted:
            raise self.section.error(
                f"needs {wanted} channels for classes={self.classes} and {len(self.mask)} anchors "
                f"in mask, and the layer before gives {x[0]}: its filters must be (classes + 5) * "
                f"{len(self.mask)} = {wanted}",
                "classes",
            )
        return x

    def forward(self, x):
        return self.activate(x if x.dtype == torch.float64 else x.float())

    def activate(self, x):
        """The head's output as Darknet leaves it; w and h stay as they came."""
        x = self._split(x)
        xy, wh, scores = x[:, :, :2], x[:, :, 2:4], x[:, :, 4:]
        if not self.new_coords:
            xy, scores = xy.sigmoid(), scores.sigmoid()
        xy = self.scale_x_y * xy - (self.scale_x_y - 1) / 2
        return torch.cat([xy, wh, scores], 2).flatten(1, 2)

    def loss(self, x, boxes, state):
        """boxes: (M, 6) image index, class, x, y, w, h, relative to the image."""
        return yolo_loss(self, x, boxes, state)

    def decode(self, output, input_size):
        """Output of forward, (height, width) of the network's input -> boxes, objectness, scores.

        boxes_xywh (N, cells, 4) relative to the input, objectness (N, cells), class scores
        (N, cells, classes) not multiplied by it; cells run over anchors, rows, columns.
        """
        y = self._split(output).permute(0, 1, 3, 4, 2)  # (N, anchors, rows, columns, 5 + classes)
        rows, cols = y.shape[2:4]
        grid_y, grid_x = torch.meshgrid(
            torch.arange(rows, device=y.device), torch.arange(cols, device=y.device), indexing="ij"
        )
        corner = torch.stack([grid_x, grid_y], -1).to(y)
        xy = (y[..., :2] + corner) / y.new_tensor([cols, rows])
        anchors = y.new_tensor([self.anchors[n] for n in self.mask])[:, None, None]
        factor = 4 * y[..., 2:4] ** 2 if self.new_coords else y[..., 2:4].exp()
        wh = factor * anchors / y.new_tensor([input_size[1], input_size[0]])
        boxes = torch.cat([xy, wh], -1).flatten(1, 3)
        return boxes, y[..., 4].flatten(1), y[..., 5:].flatten(1, 3)

    def _split(self, x):
        """(N, anchors * (5 + classes), H, W) -> (N, anchors, 5 + classes, H, W)."""
        return x.reshape(x.shape[0], len(self.mask), 5 + self.classes, *x.shape[2:])

    def saved(self):
        return 0

    def describe(self):
        return "", ",".join(str(n) for n in self.mask)


def _read_map(section):
    name = section.string("map", None)
    if name is None:
        return None
    path = Path(name)
    if not path.is_absolute() and not path.exists():
        path = Path(section.path).parent / name
    try:
        return [int(line or 0) for line in path.read_text().split("\n")[:-1]]
    except (OSError, ValueError) as error:
        raise section.error(f"map={name} cannot be read: {error}", "map") from None

"""What the heads that find boxes have in common: their keys, and from values to boxes."""

from pathlib import Path

import torch

from .layer import Layer

MAX_ANCHORS = 1000


class Head(Layer):
    """A layer whose output says where objects are.

    boxes_per_cell: how many boxes each cell predicts. decode() gives them for anchors (outermost),
    rows and columns; the probability of a class is objectness times its score.
    """

    is_output = True
    nms_kind, beta_nms = "default", 0.6
    without_anchors = "this head has none, its boxes take any shape"
    boxes_per_cell: int

    def read_classes(self, section, default):
        """The keys of the data: classes, and those that name a file about them."""
        self.classes = section.int("classes", default, 1)
        self.map = read_map(
            section, self.classes
        )  # class of the labels -> class of this head, or None

    def read_training(self, section):
        """Keys that say how training images are varied; those of the last head count."""
        self.max = section.int("max", 200, 1)  # boxes of an image that count
        self.jitter = section.float("jitter", 0.2)
        self.resize = section.float("resize", 1.0)
        self.random = section.float("random", 0.0)

    @staticmethod
    def inputs_for(section, classes):
        """Channels that the layer before must give for so many classes; None: other keys than
        `classes` would have to change, too."""
        return None

    def decode_above(self, output, input_size, thresh):
        """decode() of the boxes alone whose objectness is above thresh, in Darknet's order: cell
        by cell, in each the anchors. [(boxes (m, 4), objectness (m), scores (m, classes))] of each
        image."""
        parts = self.decode(output, input_size)
        return [
            tuple(part[b, chosen] for part in parts)
            for b, chosen in enumerate(self._above(parts[1], thresh))
        ]

    def _above(self, objectness, thresh):
        """Of each image the numbers of its boxes with an objectness (N, cells) above thresh."""
        order = torch.arange(objectness.shape[1], device=objectness.device)
        order = order.view(self.boxes_per_cell, -1).T.flatten()  # decode() has the anchors outside
        return [order[row[order] > thresh] for row in objectness]

    def saved(self):
        return 0


class AnchorHead(Head):
    """A head over a grid of cells, each with one box for every anchor of `mask`.

    x (N, n * entries, H, W); the entries of a box are its place, objectness, class scores.
    """

    box_entries = (0, 1, 2, 3)  # where x, y, w, h stand
    objectness_entry = 4  # behind everything about the box, before the classes
    masked = False  # whether the section may name some of its anchors as its own

    @property
    def entries(self):
        """Values for one box."""
        return self.objectness_entry + 1 + self.classes

    @property
    def boxes_per_cell(self):
        return len(self.mask)

    @classmethod
    def inputs_for(cls, section, classes):
        count = len(section.ints("mask", None) or range(section.int("num", 1)))
        return count * (cls.objectness_entry + 1 + classes)

    def read_anchors(self, section):
        """anchors: (w, h), `num` of them in all heads; mask: those of this head."""
        self.num = section.int("num", 1, 1, MAX_ANCHORS)
        self.mask = list(range(self.num))
        sides = section.floats("anchors", [])[: 2 * self.num]
        if 0 < len(sides) < 2 * self.num:
            section.warn(
                f"has {len(sides)} of {2 * self.num} anchor sides; 0.5 for others", "anchors"
            )
        if not all(side > 0 for side in sides):
            raise section.error("every side of an anchor must be larger than 0", "anchors")
        sides += [0.5] * (2 * self.num - len(sides))
        self.anchors = list(zip(sides[::2], sides[1::2], strict=True))

    def anchor_unit(self, grid, input_size):
        """(w, h) in pixels of the input of an anchor of 1, 1; sizes are (height, width)."""
        raise NotImplementedError

    def anchor_sizes(self, grid, input_size):
        """(num, 2) widths and heights of all anchors, relative to the input."""
        height, width = input_size
        unit = self.anchor_unit(grid, input_size)
        return torch.tensor(self.anchors) * torch.tensor([unit[0] / width, unit[1] / height])

    def shape(self, x):
        n = len(self.mask)
        wanted = n * self.entries
        if x[0] != wanted:
            raise self.section.error(
                f"needs {wanted} channels for classes={self.classes} and {n} anchors, and the "
                f"layer before gives {x[0]}: its filters must be (classes + "
                f"{self.objectness_entry + 1}) * {n} = {wanted}",
                "classes",
            )
        return x

    def forward(self, x):
        """The head's output as Darknet leaves it."""
        boxes, classes = self.parts(x)
        parts = self.activate_boxes(boxes), self.activate_classes(classes, 2)
        return torch.cat(parts, 2).flatten(1, 2)

    def parts(self, x):
        """Raw x as (N, n, entries, H, W) up to the objectness, and from the first class on."""
        x = self.split(x if x.dtype == torch.float64 else x.float())
        return x[:, :, : self.objectness_entry + 1], x[:, :, self.objectness_entry + 1 :]

    def activate_boxes(self, x):
        """Raw place and objectness (N, n, entries, H, W) -> as Darknet leaves them."""
        raise NotImplementedError

    def activate_classes(self, x, dim):
        """Raw values of all classes, which lie along `dim` -> scores."""
        raise NotImplementedError

    def center(self, t):
        """Activated x or y entry -> offset from the cell's corner, in cells."""
        return t

    def stretch(self, t):
        """Activated w or h entry -> size, in anchors."""
        return t.exp()

    def split(self, x):
        """(N, n * entries, H, W) -> (N, n, entries, H, W)."""
        return x.reshape(x.shape[0], len(self.mask), self.entries, *x.shape[2:])

    def boxes(self, value, input_size):
        """Activated values (N, n, entries, H, W) -> xywh relative to the input, (N, n, 4, H, W)."""
        rows, cols = value.shape[3:]
        column = torch.arange(cols, device=value.device)
        row = torch.arange(rows, device=value.device)[:, None]
        sizes = self.anchor_sizes((rows, cols), input_size)[self.mask].to(value)
        return self.placed(value, (row, column), (rows, cols), sizes[:, :, None, None])

    def placed(self, value, cell, grid, sizes):
        """xywh, along dimension 2, of activated values (N, n, entries, ...).

        cell: row and column of each; grid: how many there are; sizes (n, 2, ...) of the anchors.
        """
        x, y, w, h = (value[:, :, e] for e in self.box_entries)
        x, y = (self.center(x) + cell[1]) / grid[1], (self.center(y) + cell[0]) / grid[0]
        return torch.stack([x, y, self.stretch(w) * sizes[:, 0], self.stretch(h) * sizes[:, 1]], 2)

    def scores(self, value):
        """Activated values -> objectness (N, n, H, W), class scores (N, n, classes, H, W)."""
        return value[:, :, self.objectness_entry], value[:, :, self.objectness_entry + 1 :]

    def decode(self, output, input_size):
        """Output of forward, (height, width) of the network's input -> boxes, objectness, scores.

        boxes_xywh (N, cells, 4) relative to the input, objectness (N, cells), class scores
        (N, cells, classes) not multiplied by it; cells run over anchors, rows, columns.
        """
        value = self.split(output)
        boxes = self.boxes(value, input_size).permute(0, 1, 3, 4, 2).flatten(1, 3)
        objectness, scores = self.scores(value)
        return boxes, objectness.flatten(1), scores.permute(0, 1, 3, 4, 2).flatten(1, 3)

    def decode_above(self, output, input_size, thresh):
        value = self.split(output)
        rows, cols = value.shape[3:]
        value = value.flatten(3)
        sizes = self.anchor_sizes((rows, cols), input_size)[self.mask].to(value)
        objectness = self.scores(value)[0].flatten(1)
        found = []
        for b, chosen in enumerate(self._above(objectness, thresh)):
            anchor, cell = chosen // (rows * cols), chosen % (rows * cols)
            some = value[b, anchor, :, cell].T[None, None]  # (1, 1, entries, m)
            place = cell // cols, cell % cols
            boxes = self.placed(some, place, (rows, cols), sizes[anchor].T[None])
            surely, scores = self.scores(some)
            found.append((boxes[0, 0].T, surely[0, 0], scores[0, 0].T))
        return found

    def describe(self):
        return "", ",".join(str(n) for n in self.mask)


def named_file(section, key):
    """Path of the file that a key names, looked for as given and beside the cfg; or None."""
    name = section.string(key, None)
    if name is None:
        return None
    path = Path(name)
    return path if path.is_absolute() or path.exists() else Path(section.path).parent / name


def read_map(section, classes):
    """Numbers of the file that `map` names, one a line, or None."""
    path = named_file(section, "map")
    if path is None:
        return None
    try:
        numbers = [int(line or 0) for line in path.read_text().split("\n")[:-1]]
    except (OSError, ValueError) as error:
        raise section.error(f"map={path} cannot be read: {error}", "map") from None
    for line, number in enumerate(numbers, 1):
        if not 0 <= number < classes:
            raise section.error(
                f"map={path}, line {line}: class {number} is none of 0..{classes - 1}", "map"
            )
    if not numbers:
        raise section.error(f"map={path} has no line", "map")
    return numbers

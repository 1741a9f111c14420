"""The data set that needs no files: drawn shapes on textured grounds, with exact boxes.

Everything follows from (seed, split, index), so an image can be drawn again at any time, on any
worker. A class is a shape in a colour, of which there are 80. A box is the tight extent of the
pixels of its object that can be seen.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from .lists import DataError
from .sample import Sample
from .textures import background, lit

SHAPES = (
    *("circle", "square", "triangle", "star", "cross"),
    *("ring", "heart", "moon", "arrow", "bolt"),
)
COLOURS = {
    "red": (214, 40, 44),
    "blue": (38, 88, 204),
    "yellow": (250, 204, 44),
    "green": (48, 158, 66),
    "magenta": (214, 66, 168),
    "white": (244, 243, 238),
    "cyan": (50, 200, 212),
    "black": (30, 30, 36),
}
LARGEST = len(SHAPES) * len(COLOURS)
SPLITS = ("train", "valid")
TRAIN_LENGTH, VALID_LENGTH = 2000, 200  # drawn images of one pass, and held-out ones

OBJECTS = 6  # at most, in one image
SMALLEST, WIDEST = 0.16, 0.45  # diameters, as shares of the image's shorter side
SEEN = 0.75  # share of an object that later ones may not cover
TRIES = 12  # places tried for an object before it is left out
SHADING = np.array(((250, 212), (190, 162)), np.uint8)  # of an object's corners; 200: its colour
LEVELS = np.arange(256)[:, None] / 200
FRACTION = 4  # bits behind the point of the coordinates that OpenCV draws with


def class_names(classes):
    """Names of the drawn classes: a colour and a shape."""
    if not 1 <= classes <= LARGEST:
        raise DataError(
            f"drawn shapes come in 1 to {LARGEST} classes, not {classes}; "
            "give a .data file of your own"
        )
    return [" ".join(look(label)) for label in range(classes)]


def look(label):
    """(colour, shape) of a class: shapes in turn, each round with other colours, so that a few
    classes differ in both and 80 are all the pairs there are."""
    turn = label // len(SHAPES)
    return list(COLOURS)[(label + turn) % len(COLOURS)], SHAPES[label % len(SHAPES)]


@dataclass(frozen=True)
class Item:
    """One object of a scene: where its mask lies and what it looks like."""

    label: int
    colour: tuple  # RGB
    left: int  # of the mask, in pixels of the image
    top: int
    mask: np.ndarray  # uint8 coverage, 0 to 255
    outlines: tuple  # closed lines, (n, 2) in pixels of the mask


class ShapesDataset:
    """`length` drawn images with the interface of `Dataset`; the splits share no image."""

    objects = OBJECTS
    diameters = SMALLEST, WIDEST

    def __init__(self, classes=10, length=TRAIN_LENGTH, size=256, seed=0, split="train"):
        if split not in SPLITS:
            raise DataError(f"split = {split!r}; expected one of {', '.join(SPLITS)}")
        self.names, self.classes = class_names(classes), classes
        self.length, self.seed, self.split = length, seed, split
        self.size = (size, size) if isinstance(size, int) else tuple(size)  # (height, width)

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return self.load(index)

    def load(self, index):
        """The image `index` and its boxes."""
        ground, items, rng = self.scene(index)
        path = f"shapes-{self.split}-{self.seed}-{index}"
        return Sample(lit(painted(ground, items), rng), boxes(items, self.size), path)

    def scene(self, index):
        """(background, items, the generator as it stands): what an image is made of."""
        if not 0 <= index < self.length:
            raise IndexError(f"image {index} of {self.length}")
        rng = np.random.default_rng((self.seed, SPLITS.index(self.split), index))
        return background(self.size, rng), self._items(rng), rng

    def check(self, limit=200):
        """Drawn images need no check."""

    def _items(self, rng):
        owner = np.zeros(self.size, np.uint8)  # who is seen at each pixel; 0: the ground
        items = []
        for _ in range(rng.integers(1, self.objects + 1)):
            item = _placed(self._item(rng), items, owner, rng)
            if item is not None:
                items.append(item)
        return items

    def _item(self, rng):
        label = int(rng.integers(self.classes))
        colour, shape = look(label)
        colour = np.array(COLOURS[colour]) * rng.uniform(0.88, 1.06)
        diameter = min(self.size) * np.exp(rng.uniform(*np.log(self.diameters)))
        outlines, extent = _outlines(shape, diameter / 2, rng)
        mask = np.zeros(extent, np.uint8)
        cv2.fillPoly(mask, _fixed(outlines), 255, cv2.LINE_AA, FRACTION)
        return Item(label, tuple(np.clip(colour, 0, 255)), 0, 0, mask, outlines)


class ShapeClasses(ShapesDataset):
    """The same for classifiers: one object in each image, and its class as the label."""

    objects = 1
    diameters = 0.4, 0.7

    def load(self, index):
        """The image `index` and how much of each class it shows."""
        sample = super().load(index)
        labels = np.zeros(self.classes, np.float32)
        labels[int(sample.boxes[0, 0])] = 1
        return replace(sample, boxes=np.zeros((0, 5), np.float32), labels=labels)


def _outlines(shape, radius, rng):
    """Closed lines of a shape, turned and a little squeezed, and the (height, width) they need."""
    angle, squeeze = rng.uniform(-0.9, 0.9), np.exp(rng.uniform(-0.15, 0.15))
    turn = np.array(((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))))
    size = radius * np.array((squeeze, 1 / squeeze))
    lines = [(line * size) @ turn for line in OUTLINES[shape]]
    low, high = lines[0].min(0), lines[0].max(0)  # the first line encloses the others
    lines = tuple(line - low + 2 for line in lines)
    width, height = np.ceil(high - low).astype(int) + 5
    return lines, (height, width)


def _fixed(outlines):
    """Outlines in the fixed-point form that OpenCV draws."""
    return [np.rint(line * (1 << FRACTION)).astype(np.int32) for line in outlines]


def _placed(item, items, owner, rng):
    """The item at a place where every earlier one stays visible, entered into `owner`; or None."""
    height, width = item.mask.shape
    room = owner.shape[0] - height, owner.shape[1] - width
    if min(room) < 0:
        return None
    solid = item.mask >= 128
    for _ in range(TRIES):
        top, left = (int(rng.integers(space + 1)) for space in room)
        under = owner[top : top + height, left : left + width]
        hidden = np.bincount(under[solid], minlength=len(items) + 1)
        if all(_still_seen(other, n, owner, hidden) for n, other in enumerate(items, start=1)):
            under[solid] = len(items) + 1
            return Item(item.label, item.colour, left, top, item.mask, item.outlines)
    return None


def _still_seen(item, number, owner, hidden):
    """Whether enough of an item is left when `hidden[number]` of its pixels are covered too."""
    if not hidden[number]:
        return True
    area = np.count_nonzero(item.mask >= 128)
    return np.count_nonzero(_part(owner, item) == number) - hidden[number] >= SEEN * area


def _part(image, item):
    """The part of an image that lies under an item's mask (a view)."""
    height, width = item.mask.shape
    return image[item.top : item.top + height, item.left : item.left + width]


def boxes(items, size):
    """float32 (n, 5): class, x, y, w, h of what is seen of each item; later ones lie on top."""
    owner = np.zeros(size, np.uint8)
    for number, item in enumerate(items, start=1):
        _part(owner, item)[item.mask >= 128] = number
    rows = []
    for number, item in enumerate(items, start=1):
        x, y, w, h = cv2.boundingRect((_part(owner, item) == number).astype(np.uint8))
        x, y = x + item.left + w / 2, y + item.top + h / 2
        rows.append((item.label, x / size[1], y / size[0], w / size[1], h / size[0]))
    return np.array(rows, np.float32).reshape(-1, 5)


def painted(ground, items, shadows=True):
    """The items painted over a copy of the ground, in their order."""
    image = ground.copy()
    for item in items:
        if shadows:
            _shade(image, item)
        part = _part(image, item)
        cover = item.mask.astype(np.float32) / 255
        part[:] = cv2.blendLinear(_coloured(item), np.ascontiguousarray(part), cover, 1 - cover)
    return image


def _coloured(item):
    """The item's colour with a bright upper left, a dark lower right and a dark rim."""
    height, width = item.mask.shape
    ramp = cv2.resize(SHADING, (width, height))
    table = np.minimum(LEVELS * item.colour, 255).astype(np.uint8)
    pixels = cv2.LUT(cv2.merge((ramp, ramp, ramp)), table[None])
    rim = tuple(0.55 * value for value in item.colour)
    thickness = max(1, round(max(height, width) / 40))
    cv2.polylines(pixels, _fixed(item.outlines), True, rim, thickness, cv2.LINE_AA, FRACTION)
    return pixels


def _shade(image, item):
    """Darkens the ground a little below and to the right of an item."""
    offset = 1 + max(item.mask.shape) // 24
    reach = 2 * offset  # the blur carries the shadow this far beyond the mask
    soft = cv2.copyMakeBorder(item.mask, *(reach,) * 4, cv2.BORDER_CONSTANT, value=0)
    soft = cv2.blur(soft, (2 * offset + 1, 2 * offset + 1))
    top, left = item.top + offset - reach, item.left + offset - reach
    soft = soft[max(0, -top) :, max(0, -left) :]
    part = image[max(0, top) :, max(0, left) :][: soft.shape[0], : soft.shape[1]]
    soft = np.ascontiguousarray(soft[: part.shape[0], : part.shape[1]])
    light = cv2.subtract(255, cv2.multiply(soft, 1, scale=0.45))
    part[:] = cv2.multiply(np.ascontiguousarray(part), cv2.merge((light,) * 3), scale=1 / 255)


# --- outlines: closed lines of points (x, y), y downwards, about as wide as the unit circle


def _arc(start, stop, points, radius=1.0, center=(0.0, 0.0)):
    angles = np.linspace(start, stop, points)
    return radius * np.column_stack((np.cos(angles), np.sin(angles))) + center


def _star():
    points = _arc(-np.pi / 2, 1.5 * np.pi, 11)[:-1]
    points[1::2] *= 0.45
    return points


def _cross(arm=0.32):
    quarter = np.array(((-arm, -1), (arm, -1), (arm, -arm)))
    turn = np.array(((0, 1), (-1, 0)))  # a quarter turn clockwise, y pointing down
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, n) for n in range(4)])


def _heart():
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.column_stack((16 * np.sin(t) ** 3, -y - 2.5)) / 16


def _moon():
    outer = _arc(0.25 * np.pi, 1.75 * np.pi, 40)
    inner = _arc(1.72 * np.pi, 0.28 * np.pi, 30, 0.78, (0.31, 0.0))
    return np.concatenate((outer, inner))


def _points(*pairs):
    return np.array(pairs, np.float64)


OUTLINES = {
    "circle": (_arc(0, 2 * np.pi, 48),),
    "square": (_points((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),),
    "triangle": (_points((0, -1), (0.95, 0.75), (-0.95, 0.75)),),
    "star": (_star(),),
    "cross": (_cross(),),
    "ring": (_arc(0, 2 * np.pi, 48), _arc(0, 2 * np.pi, 40, 0.52)),
    "heart": (_heart(),),
    "moon": (_moon(),),
    "arrow": (
        _points((-1, -0.3), (0.1, -0.3), (0.1, -0.8), (1, 0), (0.1, 0.8), (0.1, 0.3), (-1, 0.3)),
    ),
    "bolt": (_points((0.2, -1), (-0.6, 0.2), (-0.05, 0.2), (-0.3, 1), (0.6, -0.3), (0.05, -0.3)),),
}

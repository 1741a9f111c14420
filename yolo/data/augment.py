"""Augmentation: Sample -> Sample of the network's size, with boxes that stay true.

Each step is a function of its own: `draw_*` decide with a numpy Generator, the others only do what
was decided, so that pixels and boxes follow one plan. Order, ranges and the 8-bit arithmetic in HSV
are Darknet's (crop, resize, flip, colour, combine). Not taken over:

- hue wraps around; Darknet's 8-bit sum sticks at 0, so that reds never turn towards magenta;
- mosaic is chosen for each image by its own coin; Darknet tosses one for all images of a thread;
- a box is dropped when less than `visible` (a tenth) of it is left after the crop; Darknet keeps
  slivers of one pixel, which no detector can name;
- in a mosaic boxes always end at their quadrant, as with mosaic_bound=1; with 0 Darknet lets them
  reach over the neighbours. They are cut at fractions of a pixel, not at whole pixels;
- a mosaic's quadrant skips the filled margin exactly; Darknet measures it at the wrong scale;
- boxes are cut to the image before the crop, so that none reaches into the filled margin;
- boxes beyond `max_boxes` are left out after those that cannot be used, and the shuffle is fair;
- a crop that would show nothing is replaced by the whole image in all four margins.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from .sample import Sample


@dataclass(frozen=True)
class Augment:
    """How much may change, by the cfg's words; the defaults change nothing.

    jitter, resize and max_boxes (`max`) stand in the last detection head, the others in [net].
    """

    jitter: float = 0.0  # each side moves by up to this share of the image
    resize: float = 1.0  # zoom, in and out by up to this factor; below 1 only out
    flip: bool = False
    hue: float = 0.0  # shift by up to this share of the colour circle
    saturation: float = 1.0  # factor up to this, or its reciprocal
    exposure: float = 1.0
    letter_box: bool = False
    mosaic: bool = False
    max_boxes: int = 200
    visible: float = 0.1  # smallest share of a box that must be left of it

    def __post_init__(self):
        for key in ("resize", "saturation", "exposure"):
            if not 0 < getattr(self, key) < math.inf:
                raise ValueError(f"{key} = {getattr(self, key)}; expected a number above 0")


@dataclass(frozen=True)
class Crop:
    """The part of an image that is shown, in pixels of the image; it may reach outside."""

    left: int
    top: int
    width: int
    height: int
    flip: bool = False


def images_needed(options, rng):
    """How many images go into the next sample: 4 for a mosaic, chosen every other time."""
    return 4 if options.mosaic and rng.random() < 0.5 else 1


def make(samples, size, options, rng):
    """One training sample of `size` (height, width) from as many as `images_needed` said."""
    if len(samples) == 1:
        return single(samples[0], size, options, rng)
    return mosaic(samples, size, options, rng)


def single(sample, size, options, rng):
    """One image: crop, flip, colours."""
    shape = sample.image.shape
    crop = draw_crop(shape, size, options, rng)
    image = recolour(show(sample.image, crop, size), *draw_colours(options, rng))
    kept, edges = clip(place(sample.boxes, shape, crop, size), _window(size), options.visible)
    boxes = _boxes(sample.boxes[kept, 0], edges, size, options, rng)
    return Sample(image, boxes, sample.path)


def mosaic(samples, size, options, rng):
    """Four images, each showing a part of itself in one corner of the output."""
    height, width = size
    cut_x, cut_y = (int(rng.integers(n // 5, n * 4 // 5 + 1)) for n in (width, height))
    canvas = np.zeros((height, width, 3), np.uint8)
    classes, edges = [], []
    for corner, sample in enumerate(samples):
        shape = sample.image.shape
        crop = draw_crop(shape, size, options, rng, corner)
        colours = draw_colours(options, rng)
        x0, y0, x1, y1 = window = _quadrant(corner, cut_x, cut_y, size)
        start_x, start_y = _start(corner, cut_x, cut_y, size, margins(crop, shape, size))
        if x1 > x0 and y1 > y0:
            part = show(sample.image, crop, size, (start_x, start_y, x1 - x0, y1 - y0))
            canvas[y0:y1, x0:x1] = recolour(part, *colours)
        moved = place(sample.boxes, shape, crop, size) + np.tile((x0 - start_x, y0 - start_y), 2)
        kept, cut = clip(moved, window, options.visible)
        classes.append(sample.boxes[kept, 0])
        edges.append(cut)
    boxes = _boxes(np.concatenate(classes), np.concatenate(edges), size, options, rng)
    return Sample(canvas, boxes, samples[0].path)


# --- what part is shown


def draw_crop(shape, size, options, rng, corner=None):
    """The part of an image of `shape` that will fill `size`; `corner` 0..3 is its place in a
    mosaic: top left, top right, bottom left, bottom right."""
    height, width = shape[:2]
    length = np.array((width, width, height, height))  # left, right, top, bottom
    reach = np.trunc(length * options.jitter)
    margin = np.trunc(-reach + 2 * reach * rng.random(4))
    margin = np.trunc(margin + _zoom(length, options.resize, rng))
    flip = bool(options.flip) and rng.random() < 0.5
    if options.letter_box:
        margin = np.trunc(margin - _bands(width, height, size))
    if corner is not None and rng.random() < 0.5:
        margin = _pushed(margin, corner, flip)
    left, right, top, bottom = (int(value) for value in margin)
    shown = width - left - right, height - top - bottom
    if min(*shown, width - left, height - top) <= 0:
        return Crop(0, 0, width, height, flip)
    return Crop(left, top, *shown, flip)


def _zoom(length, resize, rng):
    """What a zoom takes off each side: one share for left and top, one for right and bottom."""
    first, second = rng.random(2)
    out, closer = min(resize, 1 / resize), max(resize, 1 / resize)
    least = np.trunc(length * (1 - 1 / out) / 2)
    most = np.trunc(length * (1 - 1 / closer) / 2) if resize > 1 else 0 * least
    return least + (most - least) * np.array((first, second, first, second))


def _bands(width, height, size):
    """What to add on each side so that the aspect ratio becomes that of `size`."""
    aspect = size[1] / size[0]
    if width / height > aspect:
        return np.trunc(np.array((0, 0, 1, 1)) * (width / aspect - height) / 2)
    return np.trunc(np.array((1, 1, 0, 0)) * (height * aspect - width) / 2)


def _pushed(margin, corner, flip):
    """The same crop with the image pushed to the outer edges of its corner."""
    left, right, top, bottom = margin
    at_left, at_top = (corner % 2 == 0) != flip, corner < 2
    left, right = (0, left + right) if at_left else (left + right, 0)
    top, bottom = (0, top + bottom) if at_top else (top + bottom, 0)
    return left, right, top, bottom


def margins(crop, shape, size):
    """(left, top, right, bottom) of the output that lie outside the image, in whole pixels."""
    left = -crop.left * size[1] / crop.width
    right = (crop.left + crop.width - shape[1]) * size[1] / crop.width
    top = -crop.top * size[0] / crop.height
    bottom = (crop.top + crop.height - shape[0]) * size[0] / crop.height
    if crop.flip:
        left, right = right, left
    return tuple(math.ceil(max(0.0, value)) for value in (left, top, right, bottom))


def _window(size):
    return 0, 0, size[1], size[0]


def _quadrant(corner, cut_x, cut_y, size):
    """(left, top, right, bottom) of a mosaic's corner on the output."""
    height, width = size
    x0, x1 = (0, cut_x) if corner % 2 == 0 else (cut_x, width)
    y0, y1 = (0, cut_y) if corner < 2 else (cut_y, height)
    return x0, y0, x1, y1


def _start(corner, cut_x, cut_y, size, margin):
    """(x, y) where the part shown in a corner begins on the augmented image.

    The left quadrants show the right end of their image, the right ones the left end, each
    without the filled margin as far as the image allows; the same from top to bottom.
    """
    height, width = size
    left, top, right, bottom = margin
    x = max(0, width - cut_x - right) if corner % 2 == 0 else min(cut_x, left)
    y = max(0, height - cut_y - bottom) if corner < 2 else min(cut_y, top)
    return x, y


# --- pixels


def show(image, crop, size, part=None):
    """The crop of an image resized to `size`, or (x, y, width, height) of that result.

    Bilinear between pixel centres; what lies outside the image has its mean colour.
    """
    height, width = size
    x, y, *shape = part or (0, 0, width, height)
    step_x, step_y = crop.width / width, crop.height / height
    first_x = crop.left + (x + 0.5) * step_x - 0.5
    if crop.flip:
        first_x, step_x = crop.left + (width - x - 0.5) * step_x - 0.5, -step_x
    first_y = crop.top + (y + 0.5) * step_y - 0.5
    matrix = np.array(((step_x, 0, first_x), (0, step_y, first_y)))
    inside = crop.left >= 0 and crop.top >= 0
    inside &= crop.left + crop.width <= image.shape[1]
    inside &= crop.top + crop.height <= image.shape[0]
    return cv2.warpAffine(
        image,
        matrix,
        shape,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE if inside else cv2.BORDER_CONSTANT,
        borderValue=cv2.mean(image),
    )


def draw_colours(options, rng):
    """(hue shift, saturation factor, exposure factor)."""
    hue = rng.uniform(-options.hue, options.hue) if options.hue else 0.0
    return hue, _factor(options.saturation, rng), _factor(options.exposure, rng)


def _factor(limit, rng):
    """Uniform from 1 to `limit`, or the reciprocal of that."""
    if limit == 1:
        return 1.0
    factor = rng.uniform(min(1, limit), max(1, limit))
    return factor if rng.random() < 0.5 else 1 / factor


def recolour(image, hue, saturation, exposure):
    """Shifts and scales in 8-bit HSV, where a full circle of hue is 180."""
    if (hue, saturation, exposure) == (0, 1, 1):
        return image
    values = np.arange(256)
    table = np.empty((1, 256, 3), np.uint8)
    table[0, :, 0] = np.rint(values + 179 * hue) % 180
    table[0, :, 1] = np.minimum(np.rint(values * saturation), 255)
    table[0, :, 2] = np.minimum(np.rint(values * exposure), 255)
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


# --- boxes


def place(boxes, shape, crop, size):
    """(n, 4) left, top, right, bottom in pixels of the output; not yet cut to it."""
    center, half = boxes[:, 1:3].astype(np.float64), boxes[:, 3:5] / 2
    edges = np.clip(np.concatenate((center - half, center + half), axis=1), 0, 1)
    edges *= np.tile((shape[1], shape[0]), 2)
    edges -= np.tile((crop.left, crop.top), 2)
    edges *= np.tile((size[1] / crop.width, size[0] / crop.height), 2)
    if crop.flip:
        edges[:, [0, 2]] = size[1] - edges[:, [2, 0]]
    return edges


def clip(edges, window, visible):
    """(kept, edges): which boxes still show in a window, and those cut to it. Dropped are boxes
    below one pixel and those of whose area less than the share `visible` is left."""
    low, high = np.array(window[:2]), np.array(window[2:])
    cut = np.clip(edges, np.tile(low, 2), np.tile(high, 2))
    sides, before = cut[:, 2:] - cut[:, :2], edges[:, 2:] - edges[:, :2]
    kept = (sides >= 1).all(1) & (sides.prod(1) >= visible * before.prod(1))
    return kept, cut[kept]


def _boxes(classes, edges, size, options, rng):
    """Edges in pixels -> at most `max_boxes` rows of class, x, y, w, h in random order."""
    order = rng.permutation(len(edges))[: options.max_boxes]
    classes, edges = classes[order], edges[order] / np.tile((size[1], size[0]), 2)
    low, high = edges[:, :2], edges[:, 2:]
    return np.column_stack((classes, (low + high) / 2, high - low)).astype(np.float32)

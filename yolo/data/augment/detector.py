"""Augmentation of detectors: one image, the mean of two (mixup) or four in a mosaic, with boxes."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ..lists import DataError
from ..sample import Sample
from .mosaic import CORNERS, draw_cut, tiles
from .place import clip, rows
from .view import View, window


@dataclass(frozen=True)
class Augment:
    """How much may change, by the cfg's words; the defaults change nothing.

    jitter, resize and max_boxes (`max`) stand in the last detection head, the others in [net].
    A mosaic takes precedence over mixup, as in Darknet.
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
    mixup: bool = False
    blur: int = 0  # 1: all but the objects; above: also everything, with a kernel so wide
    gaussian_noise: int = 0  # standard deviation in levels of 0..255

    def __post_init__(self):
        for key in ("resize", "saturation", "exposure"):
            if not 0 < getattr(self, key) < math.inf:
                raise DataError(f"{key} = {getattr(self, key)}; expected a number above 0")

    def images_needed(self, rng):
        """How many images go into the next sample: several every other time."""
        several = CORNERS if self.mosaic else 2 if self.mixup else 1
        return several if several > 1 and rng.random() < 0.5 else 1

    def make(self, samples, size, rng):
        """One training sample of `size` (height, width) from one, two or four images."""
        if len(samples) == CORNERS:
            return _mosaic(samples, size, self, rng)
        return _blend(samples, size, self, rng)


def _blend(samples, size, options, rng):
    """One image, or the mean of two with the boxes of both."""
    views = [View.draw(sample, size, options, rng) for sample in samples]
    pictures = [view.pixels() for view in views]
    image = pictures[0] if len(views) == 1 else cv2.addWeighted(*_halves(*pictures), 0)
    shown = [(view, window(size), view.edges) for view in views]
    return Sample(image, _boxes(shown, size, options, rng), samples[0].path)


def _halves(first, second):
    return first, 0.5, second, 0.5


def _mosaic(samples, size, options, rng):
    """Four images, each showing a part of itself in one corner of the output. Boxes end at
    their quadrant, as with Darknet's mosaic_bound=1."""
    cut = draw_cut(size, rng)
    views = [View.draw(sample, size, options, rng, n) for n, sample in enumerate(samples)]
    image = np.zeros((*size, 3), np.uint8)
    shown = []
    for view, (frame, part, shift) in zip(views, tiles(views, cut, size), strict=True):
        left, top, right, bottom = frame
        if right > left and bottom > top:
            image[top:bottom, left:right] = view.pixels(part)
        shown.append((view, frame, view.edges + np.tile(shift, 2)))
    return Sample(image, _boxes(shown, size, options, rng), samples[0].path)


def _boxes(shown, size, options, rng):
    """Rows of all boxes that can be seen; shown: (view, its frame on the output, edges there)."""
    classes, edges = [], []
    for view, frame, placed in shown:
        kept, cut = clip(placed, frame, options.visible)
        classes.append(view.sample.boxes[kept, 0])
        edges.append(cut)
    return rows(np.concatenate(classes), np.concatenate(edges), size, options.max_boxes, rng)

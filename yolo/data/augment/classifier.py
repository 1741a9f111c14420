"""Augmentation of classifiers: turn, stretch, zoom and shift; then images and their labels mixed.

Labels are (classes,) float32: how much of each class an image shows.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ..lists import DataError
from ..sample import Sample
from .colour import draw_colours, factor, recolour
from .mosaic import CORNERS, draw_cut, quadrant

BLUR = 15  # pixels of the kernel that blur=1 means


@dataclass(frozen=True)
class ClassifierAugment:
    """How much may change, by the cfg's words in [net]; the defaults change nothing but the size.

    The image is scaled so that its shorter side has min_crop to max_crop pixels, and the
    network's size is cut from it; what lies outside is black.
    """

    min_crop: int
    max_crop: int
    angle: float = 0.0  # degrees, to both sides
    aspect: float = 1.0  # factor up to this, or its reciprocal
    flip: bool = False
    hue: float = 0.0
    saturation: float = 1.0
    exposure: float = 1.0
    blur: int = 0  # width of the kernel; a fourth of the samples is blurred
    mixup: bool = False
    cutmix: bool = False
    mosaic: bool = False  # with cutmix: one of the two; both take precedence over mixup

    def __post_init__(self):
        for key in ("aspect", "saturation", "exposure"):
            if not 0 < getattr(self, key) < math.inf:
                raise DataError(f"{key} = {getattr(self, key)}; expected a number above 0")
        if not 1 <= self.min_crop <= self.max_crop:
            raise DataError(
                f"min_crop = {self.min_crop}, max_crop = {self.max_crop}; expected "
                "1 <= min_crop <= max_crop"
            )

    def images_needed(self, rng):
        """How many images go into the next sample: several every other time."""
        ways = [2] * self.cutmix + [CORNERS] * self.mosaic or [2] * self.mixup
        if not ways or rng.random() < 0.5:
            return 1
        return ways[rng.integers(len(ways))]

    def make(self, samples, size, rng):
        """One training sample of `size` (height, width) from one, two or four images."""
        pictures = [picture(sample.image, size, self, rng) for sample in samples]
        labels = [sample.labels for sample in samples]
        if len(samples) == CORNERS:
            image, shares = _mosaic(pictures, rng)
        elif len(samples) == 2 and self.cutmix:
            image, shares = _cutmix(*pictures, rng)
        elif len(samples) == 2:
            image, shares = cv2.addWeighted(pictures[0], 0.5, pictures[1], 0.5, 0), (0.5, 0.5)
        else:
            image, shares = pictures[0], (1.0,)
        if self.blur and rng.random() < 0.25:
            width = BLUR if self.blur == 1 else 2 * (self.blur // 2) + 1
            image = cv2.GaussianBlur(image, (width, width), 0)
        mixed = sum(share * label for share, label in zip(shares, labels, strict=True))
        boxes = np.zeros((0, 5), np.float32)
        return Sample(image, boxes, samples[0].path, labels=np.asarray(mixed, np.float32))


def picture(image, size, options, rng):
    """One image turned, cut, flipped and recoloured."""
    matrix = draw_matrix(image.shape, size, options, rng)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(image, matrix, size[::-1], flags=flags)
    if options.flip and rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
    return recolour(image, *draw_colours(options, rng))


def draw_matrix(shape, size, options, rng):
    """(2, 3): from a pixel (x, y, 1) of the output to the source, as Darknet's random crop.

    It cuts a square as wide as the longer side of the output, and resizes that with aligned
    corners; here both are one step.
    """
    height, width = shape[:2]
    side = max(size)
    aspect = factor(options.aspect, rng)
    shorter = max(1, int(min(height, width * aspect)))
    scale = rng.integers(options.min_crop, options.max_crop + 1) / shorter
    angle = math.radians(rng.uniform(-options.angle, options.angle))
    room = np.array((width * scale / aspect - side, height * scale - side)) / 2
    shift = rng.uniform(-1, 1, 2) * np.maximum(room, 0)
    turn = np.array(((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))))
    to_source = turn @ np.diag((aspect, 1)) / scale
    resize = np.diag([(side - 1) / max(1, n - 1) for n in size[::-1]])
    middle = np.array((width, height)) / 2
    return np.column_stack((to_source @ resize, to_source @ (shift - side / 2) + middle))


def _cutmix(image, other, rng):
    """A rectangle of the second image on the first: (image, shares of the two)."""
    height, width = image.shape[:2]
    w, h = (int(rng.integers(int(0.3 * n), int(0.8 * n) + 1)) for n in (width, height))
    left, top = int(rng.integers(width - w)), int(rng.integers(height - h))
    image = image.copy()
    image[top : top + h, left : left + w] = other[top : top + h, left : left + w]
    share = w * h / (width * height)
    return image, (1 - share, share)


def _mosaic(images, rng):
    """Each image keeps its own corner: (image, shares of the four)."""
    height, width = size = images[0].shape[:2]
    cut = draw_cut(size, rng)
    result, shares = np.empty_like(images[0]), []
    for corner, image in enumerate(images):
        left, top, right, bottom = quadrant(corner, cut, size)
        result[top:bottom, left:right] = image[top:bottom, left:right]
        shares.append((right - left) * (bottom - top) / (width * height))
    return result, shares

"""Samples of faces varied: mirrored, recoloured. Their place in the window was varied before."""

import math
from dataclasses import dataclass

import numpy as np

from ..augment.colour import draw_colours, recolour
from ..lists import DataError
from ..sample import Sample

MIRRORED = (1, 0, 2, 4, 3)  # landmark that each becomes in a mirror


@dataclass(frozen=True)
class FaceAugment:
    """How much may change, by the cfg's words in [net]; the defaults change nothing."""

    flip: bool = False
    hue: float = 0.0
    saturation: float = 1.0
    exposure: float = 1.0

    def __post_init__(self):
        for key in ("saturation", "exposure"):
            if not 0 < getattr(self, key) < math.inf:
                raise DataError(f"{key} = {getattr(self, key)}; expected a number above 0")

    def images_needed(self, rng):
        """One: samples are not mixed."""
        return 1

    def make(self, samples, size, rng):
        """One training sample; `size` (height, width) is what the data set has."""
        (sample,) = samples
        image, labels = sample.image, sample.labels
        if image.shape[:2] != tuple(size):
            raise DataError(
                f"{sample.path}: samples of {image.shape[1]}x{image.shape[0]} pixels, the network "
                f"takes {size[1]}x{size[0]}"
            )
        if self.flip and rng.random() < 0.5:
            image, labels = np.ascontiguousarray(image[:, ::-1]), mirrored(labels)
        image = recolour(image, *draw_colours(self, rng))
        return Sample(image, sample.boxes, sample.path, labels=labels)


def mirrored(labels):
    """The truth of a window seen in a mirror."""
    labels = labels.copy()
    labels[1], labels[3] = -labels[3], -labels[1]
    if len(labels) > 5:
        x, y = labels[5:10].copy(), labels[10:].copy()
        labels[5:10], labels[10:] = 1 - x[list(MIRRORED)], y[list(MIRRORED)]
    return labels

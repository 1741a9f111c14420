"""One image as it will be shown: everything random about it is decided, its pixels are not yet
made. So a mosaic computes only the part of each image that it shows."""

from dataclasses import dataclass

import numpy as np

from ..sample import Sample
from .colour import draw_colours, recolour
from .crop import Crop, draw_crop, show
from .place import clip, place
from .soften import blurred, draw_blur, draw_noise, kernel, limited, noisy


def window(size):
    """(left, top, right, bottom) of the whole output."""
    return 0, 0, size[1], size[0]


@dataclass(frozen=True)
class View:
    """`edges` (n, 4) are left, top, right, bottom of all boxes on the output, not cut to it."""

    sample: Sample
    size: tuple  # (height, width) of the output
    crop: Crop
    colours: tuple  # (hue shift, saturation factor, exposure factor)
    blur: int
    noise: tuple  # (standard deviation, seed)
    edges: np.ndarray

    @classmethod
    def draw(cls, sample, size, options, rng, corner=None):
        """A view by chance; `corner` is its place in a mosaic."""
        crop = draw_crop(sample.image.shape, size, options, rng, corner)
        colours = draw_colours(options, rng)
        edges = place(sample.boxes, sample.image.shape, crop, size)
        shown = clip(edges, window(size), options.visible)[1]
        blur = limited(draw_blur(options.blur, rng), shown)
        noise = draw_noise(options.gaussian_noise, rng)
        return cls(sample, size, crop, colours, blur, noise, edges)

    def pixels(self, part=None):
        """The output, or its part (left, top, right, bottom), as uint8 RGB."""
        left, top, right, bottom = part = part or window(self.size)
        reach = kernel(self.blur) // 2 if self.blur else 0  # a blur needs what lies around a part
        x0, y0, x1, y1 = _widened(part, reach, self.size)
        image = show(self.sample.image, self.crop, self.size, (x0, y0, x1 - x0, y1 - y0))
        image = recolour(image, *self.colours)
        if self.blur:
            image = blurred(image, self.blur, self.edges - np.tile((x0, y0), 2))
            image = image[top - y0 : bottom - y0, left - x0 : right - x0]
        return noisy(image, *self.noise) if self.noise[0] else image


def _widened(part, reach, size):
    left, top, right, bottom = part
    height, width = size
    return (
        max(0, left - reach),
        max(0, top - reach),
        min(width, right + reach),
        min(height, bottom + reach),
    )

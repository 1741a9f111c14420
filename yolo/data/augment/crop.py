"""What part of an image is shown: jitter, zoom, aspect ratio, flip, and its pixels at that size."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Crop:
    """The part of an image that is shown, in pixels of the image; it may reach outside."""

    left: int
    top: int
    width: int
    height: int
    flip: bool = False


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

"""Four images in one: the output is cut in four, and each corner shows a part of one image."""

import math

import numpy as np

CORNERS = 4  # top left, top right, bottom left, bottom right


def draw_cut(size, rng):
    """(x, y) where the four images meet: between a fifth and four fifths of both sides."""
    height, width = size
    return tuple(int(rng.integers(n // 5, n * 4 // 5 + 1)) for n in (width, height))


def quadrant(corner, cut, size):
    """(left, top, right, bottom) of a corner on the output."""
    height, width = size
    x0, x1 = (0, cut[0]) if corner % 2 == 0 else (cut[0], width)
    y0, y1 = (0, cut[1]) if corner < 2 else (cut[1], height)
    return x0, y0, x1, y1


def start(corner, cut, size, margin):
    """(x, y) where the part shown in a corner begins on the augmented image.

    The left quadrants show the right end of their image, the right ones the left end, each
    without the filled margin as far as the image allows; the same from top to bottom.
    """
    height, width = size
    left, top, right, bottom = margin
    x = max(0, width - cut[0] - right) if corner % 2 == 0 else min(cut[0], left)
    y = max(0, height - cut[1] - bottom) if corner < 2 else min(cut[1], top)
    return x, y


def margins(crop, shape, size):
    """(left, top, right, bottom) of the output that lie outside the image, in whole pixels."""
    left = -crop.left * size[1] / crop.width
    right = (crop.left + crop.width - shape[1]) * size[1] / crop.width
    top = -crop.top * size[0] / crop.height
    bottom = (crop.top + crop.height - shape[0]) * size[0] / crop.height
    if crop.flip:
        left, right = right, left
    return tuple(math.ceil(max(0.0, value)) for value in (left, top, right, bottom))


def tiles(views, cut, size):
    """Of each view: (quadrant on the output, the part of the view that it shows, shift (dx, dy)
    from the view to the output)."""
    for corner, view in enumerate(views):
        x0, y0, x1, y1 = window = quadrant(corner, cut, size)
        margin = margins(view.crop, view.sample.image.shape, size)
        x, y = start(corner, cut, size, margin)
        yield window, (x, y, x + x1 - x0, y + y1 - y0), np.array((x0 - x, y0 - y))

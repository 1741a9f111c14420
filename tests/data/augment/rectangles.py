"""The pixel oracle of augmentation: rectangles of known colours, looked for in what comes out.

It shares no code with the augmentation: a box is right when it is the extent of its colour.
"""

import numpy as np

from yolo.data.sample import Sample

GREY = 120
RED, GREEN, BLUE, YELLOW = COLOURS = np.array(
    [[230, 30, 30], [30, 230, 30], [40, 40, 235], [230, 230, 20]], np.uint8
)
SHARE = 0.75  # of its colour that a pixel of the rectangle has at least
SIZE = (96, 128)  # of the network: height, width
SHAPE = (150, 200)  # of the source


def painted(edges, colour, shape=SHAPE, label=0):
    """A grey image with one filled rectangle (left, top, right, bottom) and its true box."""
    image = np.full((*shape, 3), GREY, np.uint8)
    left, top, right, bottom = edges
    image[top:bottom, left:right] = colour
    box = (
        label,
        (left + right) / 2 / shape[1],
        (top + bottom) / 2 / shape[0],
        (right - left) / shape[1],
        (bottom - top) / shape[0],
    )
    return Sample(image, np.array([box], np.float32), f"{label}.png")


def random_rectangle(rng, shape=SHAPE):
    """Small, so that the mean colour of the image, that of the margins, stays grey."""
    w, h = rng.integers(20, 60, 2)
    left, top = rng.integers(0, shape[1] - w + 1), rng.integers(0, shape[0] - h + 1)
    return int(left), int(top), int(left + w), int(top + h)


def edges_of(box, size=SIZE):
    """Left, top, right, bottom in pixels of a row class, x, y, w, h."""
    x, y, w, h = box[1:] * np.tile(size[::-1], 2)
    return np.array((x - w / 2, y - h / 2, x + w / 2, y + h / 2))


def extent(mask):
    """The same of the pixels that are set, or None."""
    rows, columns = np.where(mask)
    if not len(rows):
        return None
    return np.array((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))


def colourful(image):
    """Pixels that show the rectangle rather than the grey ground, whatever a colour change made
    of both. Around an object that a blur spared, the ground has half of its colour, more where
    it is narrow."""
    chroma = np.ptp(image.astype(int), axis=2)
    return chroma > max(50, SHARE * chroma.max())


def coloured(image, colour):
    """Pixels that show `colour` rather than grey or another of COLOURS."""
    axis = colour.astype(float) - GREY
    return (image.astype(float) - GREY) @ axis / (axis @ axis) > SHARE


def check(boxes, mask, tolerance=1.5):
    """A box that was kept lies on its pixels, and its error is returned: (x, y) of the centre. A
    dropped one belongs to (nearly) no pixels: a tenth of the largest rectangle, enlarged."""
    found = extent(mask)
    if len(boxes):
        assert found is not None
        error = edges_of(boxes[0]) - found
        assert np.abs(error).max() <= tolerance
        return (error[:2] + error[2:]) / 2
    assert mask.sum() <= 0.11 * 90 * 90
    return None

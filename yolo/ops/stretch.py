"""An image to the size of a network's input, as Darknet resizes: bilinear with aligned corners,
y[i] = x at i * (old - 1) / (new - 1), and no smoothing when shrinking.

Twin: the same with NumPy, one axis after the other.
"""

import numpy as np

from .backend import uses_torch
from .native import library


def stretch(image, height, width):
    """uint8, or float32 0 to 255 (h, w, channels) -> float32 (channels, height, width), 0 to 1."""
    if image.dtype not in (np.uint8, np.float32):
        raise TypeError(f"stretch: the image is {image.dtype}, expected uint8 or float32")
    if uses_torch():
        return _twin(image, height, width)
    image = np.ascontiguousarray(image)
    planes = np.empty((image.shape[2], height, width), np.float32)
    shape = *image.shape, height, width
    in_bytes = image.dtype == np.uint8
    library().stretch(shape, in_bytes, image.ctypes.data, planes.ctypes.data)
    return planes


def _twin(image, height, width):
    low, high, share = _aligned(image.shape[0], height)
    rows = _blend(image[low].astype(np.float32), image[high], share[:, None, None])
    low, high, share = _aligned(image.shape[1], width)
    blended = _blend(rows[:, low], rows[:, high], share[:, None])
    return np.ascontiguousarray(blended.transpose(2, 0, 1)) / np.float32(255)


def _blend(a, b, share):
    return a + (b - a) * share


def _aligned(old, new):
    """Of each of `new` positions: the two old neighbours and the share of the second."""
    position = np.arange(new) * ((old - 1) / max(new - 1, 1))
    position[-1] = old - 1  # also where new is 1, as Darknet
    low = np.minimum(position.astype(np.int64), max(old - 2, 0))
    share = (position - low).astype(np.float32)
    return low, np.minimum(low + 1, old - 1), share

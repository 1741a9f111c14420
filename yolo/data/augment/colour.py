"""Colours: hue, saturation and exposure of an image change together."""

import cv2
import numpy as np


def draw_colours(options, rng):
    """(hue shift, saturation factor, exposure factor)."""
    hue = rng.uniform(-options.hue, options.hue) if options.hue else 0.0
    return hue, factor(options.saturation, rng), factor(options.exposure, rng)


def factor(limit, rng):
    """Uniform from 1 to `limit`, or the reciprocal of that."""
    if limit == 1:
        return 1.0
    value = rng.uniform(min(1, limit), max(1, limit))
    return value if rng.random() < 0.5 else 1 / value


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

"""What a window shows: a rectangle of whole pixels, which may reach beyond the image."""

import cv2
import numpy as np


def crops(image, boxes, size):
    """uint8 (n, size, size, 3): what boxes (n, 4) left, top, right, bottom show, black outside."""
    found = np.empty((len(boxes), size, size, 3), np.uint8)
    for out, box in zip(found, np.asarray(boxes).astype(np.int64).tolist(), strict=True):
        out[:] = cv2.resize(window(image, *box), (size, size), interpolation=cv2.INTER_AREA)
    return found


def window(image, left, top, right, bottom):
    """The pixels of one box; a view of the image where it lies inside."""
    height, width = image.shape[:2]
    inside = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if top >= 0 and left >= 0 and bottom <= height and right <= width:
        return inside
    canvas = np.zeros((bottom - top, right - left, 3), np.uint8)
    y, x = max(0, -top), max(0, -left)
    canvas[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return canvas

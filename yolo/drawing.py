"""Frames and labels of detections on an image: uint8 (H, W, 3) RGB."""

import colorsys

import cv2
import numpy as np

from .legible import shown


def class_colour(class_id: int) -> tuple[int, int, int]:
    """RGB of a class: always the same, and neighbours far apart (hues by the golden ratio)."""
    hue = (0.58 + class_id * 0.618034) % 1.0
    saturation, value = ((0.85, 0.95), (0.55, 1.0), (0.95, 0.7))[class_id // 8 % 3]
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))


def rgb_copy(image) -> np.ndarray:
    """A copy to draw on, uint8 (H, W, 3); grey becomes three equal channels."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ValueError(f"draw: image is {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    if image.ndim == 2 or image.shape[2] == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    if image.shape[2] != 3:
        raise ValueError(f"draw: image has shape {image.shape}, expected (H, W, 3) in RGB")
    return np.array(image, order="C")


def draw_entries(canvas, entries, thickness=None, labels=True):
    """Draws entries (name, score, box_xyxy in pixels, class_id), the surest first, on a canvas."""
    size = canvas.shape[:2]
    thickness = thickness or max(1, round(0.0025 * sum(size) / 2 + 0.5))
    for entry in reversed(entries):  # the surest is drawn last, on top
        corners = _corners(entry, size, 2 * thickness)
        colour = class_colour(entry.class_id)
        cv2.rectangle(canvas, corners[:2], corners[2:], colour, thickness)
    if labels:
        _draw_labels(canvas, entries, thickness)


def _corners(entry, size, margin: int) -> list[int]:
    """Whole pixels, kept near the canvas: OpenCV cannot draw to corners beyond 2^31."""
    height, width = size
    upper = np.array([width, height, width, height]) + margin
    return np.clip(np.round(entry.box_xyxy), -margin, upper).astype(int).tolist()


def _draw_labels(canvas, entries, thickness: int):
    """Text on plates of the class colours; the surest chooses its place first."""
    size = canvas.shape[:2]
    scale = min(max(0.35, 0.0009 * sum(size) / 2), 4.0)
    stroke = max(1, round(1.6 * scale))
    taken = []
    for entry in entries:
        # OpenCV crashes on text that is not Unicode, as undecodable bytes of a names file.
        text = f"{shown(entry.name)} {entry.score:.2f}"
        font = cv2.FONT_HERSHEY_SIMPLEX, scale
        (wide, high), below = cv2.getTextSize(text, *font, stroke)
        plate = wide + 2 * stroke + 2, high + below + 2 * stroke
        left, top = _free_place(plate, _corners(entry, size, 0), size, taken, thickness)
        taken.append((left, top, left + plate[0], top + plate[1]))
        colour = class_colour(entry.class_id)
        cv2.rectangle(canvas, taken[-1][:2], taken[-1][2:], colour, cv2.FILLED)
        ink = (0, 0, 0) if _brightness(colour) > 140 else (255, 255, 255)
        origin = left + stroke + 1, top + stroke + high
        cv2.putText(canvas, text, origin, *font, ink, stroke, cv2.LINE_AA)


def _free_place(plate, corners, size, taken, thickness: int) -> tuple[int, int]:
    """Left and top of a plate: above the box, else inside, below, or in steps down its edge."""
    (wide, high), (x1, y1, x2, y2) = plate, corners
    left, top, inside = x1 - thickness // 2, y1 - high, y1 + thickness
    wishes = [(left, top)] if top >= 0 else []
    wishes += [(left, inside), (x2 - wide, inside), (left, y2 - high), (left, y2)]
    wishes += [(left, inside + step * high) for step in range(1, 6)]
    bounded = [
        (max(0, min(x, size[1] - 1 - wide)), max(0, min(y, size[0] - 1 - high))) for x, y in wishes
    ]
    free = (
        p for p in bounded if not any(_overlap((*p, p[0] + wide, p[1] + high), t) for t in taken)
    )
    return next(free, bounded[0])


def _overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _brightness(colour) -> float:
    """Perceived brightness of an RGB colour, 0 to 255 (Rec. 601 weights)."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue

"""Lists of faces as WIDER FACE has them, text with one image after the other.

    0--Parade/0_Parade_marchingband_1_849.jpg      the image
    1                                              how many lines follow; 0: one, of zeros
    449 330 122 149 0 0 0 0 0 0                    left, top, width, height and six flags of a face,
                                                   the fourth of which (`invalid`) may be 1

or, with landmarks (as RetinaFace's labels for it):

    # 0--Parade/0_Parade_marchingband_1_849.jpg
    449 330 122 149 489 374 0 542 376 0 515 413 0 485 426 0 538 431 0 0.8

where each landmark is x, y and a flag, -1 where it is not known, and a last number tells how clear
the face is. Boxes without area are left out.
"""

from dataclasses import dataclass

import numpy as np

from ..labels import LabelError
from ..lists import DataError, lines
from ..paths import shown
from .boxes import POINTS, FaceBoxes

LARGEST = 1e6  # pixels
INVALID = 7  # column of the flag
MARKS = slice(4, 19)  # columns of the landmarks


@dataclass
class Entry:
    """One image."""

    name: str
    line: int
    faces: FaceBoxes


def read(path):
    """[Entry] of a list; LabelError with file:line where it is none."""
    text = [(number, line.strip()) for number, line in enumerate(lines(path), start=1)]
    text = [(number, line) for number, line in text if line]
    if not text:
        raise DataError(f"{shown(path)}: no image in this list")
    blocks = _marked(text) if text[0][1].startswith("#") else _counted(text, path)
    return [Entry(name, line, _faces(rows, path)) for name, line, rows in blocks]


def _marked(text):
    """(name, line, [(line, row)]) of images that begin with #."""
    blocks = []
    for number, line in text:
        if line.startswith("#"):
            blocks.append((line[1:].strip(), number, []))
        else:
            blocks[-1][2].append((number, line))
    return blocks


def _counted(text, path):
    """The same of images with a count."""
    blocks, at = [], 0
    while at < len(text):
        line, name = text[at]
        number, count = text[at + 1] if at + 1 < len(text) else (line, "")
        if not (count.isascii() and count.isdigit() and len(count) < 7):
            raise LabelError(
                f"{shown(path)}:{number}: expected the number of faces of {shown(name[:80])}, got "
                f"{shown(count[:80])}"
            )
        rows = text[at + 2 : at + 2 + int(count)]
        if len(rows) < int(count):
            raise LabelError(f"{shown(path)}:{number}: {count} faces, {len(rows)} lines follow")
        blocks.append((name, line, rows))
        at += 2 + int(count)
        if count == "0" and at < len(text) and set(text[at][1].split()) == {"0"}:
            at += 1
    return blocks


def _faces(rows, path):
    boxes, marks, clear = [], [], []
    for line, row in rows:
        values = _numbers(row, line, path)
        left, top, width, height = values[:4]
        if width <= 0 or height <= 0:
            continue
        boxes.append((left, top, left + width, top + height))
        known = len(values) >= MARKS.stop
        clear.append(known or len(values) <= INVALID or values[INVALID] != 1)
        found = np.full((POINTS, 2), np.nan)
        if known and min(values[MARKS]) >= 0:
            found = np.array(values[MARKS]).reshape(POINTS, 3)[:, :2]
        marks.append(found)
    return FaceBoxes(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(marks, np.float64).reshape(-1, POINTS, 2),
        np.array(clear, bool),
    )


def _numbers(row, line, path):
    try:
        values = [float(field) for field in row.split()]
    except ValueError:
        values = []
    if len(values) < 4 or not all(abs(value) <= LARGEST for value in values):
        raise LabelError(
            f"{shown(path)}:{line}: expected left, top, width, height in pixels, got "
            f"{shown(row[:80])}"
        )
    return values

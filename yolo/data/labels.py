"""Darknet's label files: one object a line, `class x y width height`, relative to the image.

Where Darknet stops reading in silence, the line is named instead. Two kinds of problem differ:
a *fault* (not a number, a class that does not exist, a centre outside the image) makes the whole
file unusable, since training on the rest would teach that the object is background; a *repair*
(a side above 1, a box without area, a negative class) is what Darknet itself mends or leaves out.
"""

import os
import re
from dataclasses import dataclass

import numpy as np

from ..errors import YoloError
from .paths import shown, spellings

BYTE_LIMIT = 1 << 24  # some 400,000 boxes

# Darknet looks here, whatever else exists; each is replaced where it occurs first.
DARKNET_FOLDERS = (
    ("/images/train2017/", "/labels/train2017/"),
    ("/images/val2017/", "/labels/val2017/"),
    ("/JPEGImages/", "/labels/"),
    ("\\images\\train2017\\", "\\labels\\train2017\\"),
    ("\\images\\val2017\\", "\\labels\\val2017\\"),
    ("\\images\\train2014\\", "\\labels\\train2014\\"),
    ("\\images\\val2014\\", "\\labels\\val2014\\"),
    ("/images/train2014/", "/labels/train2014/"),
    ("/images/val2014/", "/labels/val2014/"),
    ("\\JPEGImages\\", "\\labels\\"),
)
IMAGES_FOLDER = re.compile(r"(?:^|(?<=[/\\]))images(?=[/\\])")


class LabelError(YoloError, ValueError):
    """A label file that cannot be used; the message begins with file:line."""


@dataclass(frozen=True)
class Problem:
    """One line of a label file that is wrong."""

    path: str
    line: int
    text: str
    fault: bool  # the file cannot be used; otherwise the line was mended or left out

    def __str__(self):
        return f"{shown(self.path)}:{self.line}: {self.text}"


def read(path, classes=None):
    """(boxes, repairs) of a label file; boxes are float32 (n, 5): class, x, y, w, h.

    Raises LabelError at the first fault. `classes` bounds the class numbers when given.
    """
    return checked(path, _lines(path), classes)


def checked(path, lines, classes=None):
    """As `read`, of lines that are there already; `path` for messages."""
    boxes, problems = inspect(path, classes, lines)
    for problem in problems:
        if problem.fault:
            raise LabelError(str(problem))
    return boxes, problems


def inspect(path, classes=None, lines=None):
    """(boxes, problems) of a label file, or of its lines: all its problems, faults too."""
    boxes, problems = [], []
    for number, box, text in rows(path, classes, lines):
        if text:
            problems.append(Problem(os.fspath(path), number, text, fault=box is None))
        if box:
            boxes.append(box)
    return np.array(boxes, np.float32).reshape(-1, 5), problems


def rows(path, classes=None, lines=None):
    """(line number, box, problem) of each line that is not empty, of a file or of given lines. No
    box and a problem: a fault. An empty box and a problem: left out. A box and a problem: mended.
    """
    for number, line in enumerate(_lines(path) if lines is None else lines, start=1):
        fields = line.split()
        if fields:
            yield number, *_box(fields, classes)


def _lines(path):
    try:
        if os.path.getsize(path) > BYTE_LIMIT:
            raise LabelError(f"{shown(path)}:1: larger than {BYTE_LIMIT} bytes; no label file")
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return list(file)
    except OSError as error:
        raise LabelError(f"{shown(path)}:1: {error.strerror or error}") from None


def _box(fields, classes):
    """(box, problem) of one line, as `rows` has them."""
    if len(fields) != 5:
        return None, f"{len(fields)} values; expected 5: class x y width height"
    try:
        values = [float(field) for field in fields]
    except ValueError:
        return None, f"not a number in {' '.join(fields)[:80]!r}"
    if not all(abs(value) < 1e9 for value in values):
        return None, f"not a finite number in {' '.join(fields)[:80]!r}"
    label, x, y, w, h = values
    if label != int(label) or (classes is not None and label >= classes):
        allowed = "a whole number" if classes is None else f"0 to {classes - 1}"
        return None, f"class {fields[0]}; expected {allowed}"
    if not (0 < x <= 1 and 0 < y <= 1):
        return None, f"centre {x:g} {y:g} outside the image; expected 0 to 1, relative to its size"
    return _mended(label, x, y, w, h)


def _mended(label, x, y, w, h):
    if label < 0:
        return (), f"class {label:g} is negative; the box is left out"
    if w <= 0 or h <= 0:
        return (), f"size {w:g} {h:g}; a box without area is left out"
    if w > 1 or h > 1:
        return (label, x, y, min(w, 1), min(h, 1)), f"size {w:g} {h:g} larger than the image"
    return (label, x, y, w, h), None


def candidates(image_path):
    """Where the label file of an image may lie, in the order in which they are tried.

    1. Darknet's own rules: images/train2017, val2017, train2014, val2014 -> labels/...,
       JPEGImages -> labels.
    2. Beside the image.
    3. The last folder called `images` on the path becomes `labels`.

    So a file that Darknet would read is the one that is read here.
    """
    found = []
    for path in spellings(os.fspath(image_path)):
        beside = os.path.splitext(path)[0] + ".txt"
        found += [_darknet(beside), beside, _last_images(beside)]
    return list(dict.fromkeys(found))


def _darknet(path):
    for folder, replacement in DARKNET_FOLDERS:
        path = path.replace(folder, replacement, 1)
    return path


def _last_images(path):
    matches = list(IMAGES_FOLDER.finditer(path))
    if not matches:
        return path
    return path[: matches[-1].start()] + "labels" + path[matches[-1].end() :]


def find(image_path):
    """The label file of an image, or None if it has none: an image without objects."""
    for candidate in candidates(image_path):
        if os.path.isfile(candidate):
            return candidate
    return None

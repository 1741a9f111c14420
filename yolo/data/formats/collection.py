"""Images and boxes apart from the file format that they come from or go to.

Boxes are kept as Darknet has them, centre and size relative to the image, in float64. Written
again they are rounded where float64 ends (RELATIVE and PIXELS decimals), so that numbers with as
many decimals as people write come back as they were.
"""

import os
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import YoloError
from ..paths import shown

RELATIVE, PIXELS = 13, 9  # decimals that survive the way from one to the other and back


class FormatError(YoloError, ValueError):
    """Annotations that cannot be read, or that another format has no place for."""


@dataclass
class Object:
    """One box. `extra` is what only some formats know: area, iscrowd, difficult, ..."""

    label: int
    box: tuple  # x, y, w, h: centre and size, relative to the image
    extra: dict = field(default_factory=dict)

    def corners(self, width, height):
        """left, top, right, bottom in pixels."""
        x, y, w, h = self.box
        edges = (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height
        return tuple(round(edge, PIXELS) for edge in edges)


def box_of(left, top, right, bottom, width, height):
    """The box of an Object from its corners in pixels."""
    sides = (right - left) / width, (bottom - top) / height
    return ((left + right) / 2 / width, (top + bottom) / 2 / height, *sides)


@dataclass
class Picture:
    """One image: where it is, how a format names it, and its objects."""

    path: str
    name: str  # below the folder of all images, with /
    height: int
    width: int
    objects: list
    extra: dict = field(default_factory=dict)


@dataclass
class Collection:
    """Images with their objects, and what was said on the way here."""

    names: list
    pictures: list
    ids: list | None = None  # COCO's id of each class, where the source has them
    notes: Counter = field(default_factory=Counter)  # sentence -> how often

    @property
    def boxes(self):
        return sum(len(picture.objects) for picture in self.pictures)


def names_below(paths):
    """(folder of all, the name of each path below it)."""
    folders = {os.path.dirname(os.path.abspath(path)) for path in paths}
    root = os.path.commonpath(folders) if folders else os.getcwd()
    return root, [os.path.relpath(path, root).replace(os.sep, "/") for path in paths]


def writable(path, overwrite):
    """Refuses a file that exists, unless it may be replaced."""
    if os.path.lexists(path) and not overwrite:
        raise FormatError(f"{shown(path)}: exists already; --overwrite replaces it")
    return path


def bring(picture, folder, link, overwrite):
    """Copies, or links, the image into `folder` under its name."""
    target = Path(folder) / picture.name
    source = os.path.abspath(picture.path)
    if os.path.lexists(target) and os.path.realpath(target) == os.path.realpath(source):
        return target
    writable(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if link:
        os.symlink(source, target)
    else:
        shutil.copyfile(source, target)
    return target


def on_one_line(text, what):
    """Refuses text that a file of lines cannot hold."""
    if text.splitlines() != [text] or text != text.strip():
        raise FormatError(f"{what} {shown(text)!r} cannot stand in a file of lines; rename it")
    return text

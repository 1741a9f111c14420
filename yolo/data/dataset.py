"""Data sets of files: an image list, or a `.data` file that names one, and the labels beside it.

A data set is anything with `classes`, `names`, `len()` and `load(index) -> Sample`, where `load`
raises ImageError or LabelError for what cannot be used: `shapes.ShapesDataset` is another.
"""

import os
from collections.abc import Sequence

import numpy as np

from . import check, image, labels
from .cache import ImageCache
from .check import Check
from .image import ImageError
from .labels import LabelError
from .listing import Entry, read_list
from .lists import DataError, DataFile, read_names
from .loader import Loader, Order
from .paths import around, resolve, shown
from .sample import Batch, Notes, Sample

__all__ = [
    "Batch",
    "Check",
    "DataError",
    "DataFile",
    "Dataset",
    "Entry",
    "ImageError",
    "LabelError",
    "Loader",
    "Notes",
    "Order",
    "Sample",
    "read_list",
    "read_names",
]


class ImageList:
    """Images of a list. Relative paths are seen from `folders` in turn; without them from the
    list's folder, then from the working directory. Files are looked for when they are needed."""

    def __init__(self, entries, folders=None, path=None):
        self.entries = entries if isinstance(entries, Sequence) else list(entries)
        self.path = path  # of the list, for messages
        self.folders = tuple(folders or around(path))
        self.cache = None

    def __len__(self):
        return len(self.entries)

    def __getitem__(self, index):
        return self.load(index)

    def keep_images(self, size):
        """Keeps decoded images in `size` bytes that this process shares with its workers."""
        self.cache = ImageCache(size, len(self))

    def where(self, index):
        """list:line of an entry, for messages."""
        return f"{shown(self.path or '<list>')}:{self.entries[index].line}"

    def image_path(self, index):
        """The existing file of an entry."""
        text = self.entries[index].text
        found = resolve(text, self.folders)
        if found is None:
            looked = ", ".join(shown(folder) for folder in self.folders)
            raise ImageError(
                f"{self.where(index)}: {shown(text)}: no such file; looked from {looked}"
            )
        return found

    def pixels(self, index, path):
        """The image of an entry, whose file is `path`; not to be written to."""
        kept = None if self.cache is None else self.cache.get(index)
        if kept is not None:
            return kept
        try:
            pixels = image.read(path)
        except ImageError as error:
            raise ImageError(f"{error} ({self.where(index)})") from None
        if self.cache is not None:
            self.cache.put(index, pixels)
        return pixels


class Dataset(ImageList):
    """Images of a list with Darknet's label files."""

    def __init__(self, entries, classes=None, names=None, folders=None, path=None):
        super().__init__(entries, folders, path)
        self.classes, self.names = classes, names

    @classmethod
    def from_list(cls, path, classes=None, names=None, data_path=None):
        """The images of a list file; `data_path` is the `.data` file that names the list."""
        return cls(read_list(path), classes, names, around(path, data_path), os.fspath(path))

    @classmethod
    def from_data(cls, path, part="train", classes=None):
        """The list that a `.data` file has under `part`, train or valid. `classes` overrides the
        number in the file: a network's own number counts, as in Darknet."""
        data = DataFile.read(path)
        classes = classes or data.classes
        return cls.from_list(data.file(part), classes, data.names(), path)

    @classmethod
    def difficult(cls, path, classes=None):
        """The images of a `.data` file's key `difficult`: in the order of its valid list, with
        labels of the objects that need not be found; None where there is no such key."""
        data = DataFile.read(path)
        if not data.get("difficult"):
            return None
        found = cls.from_list(data.file("difficult"), classes or data.classes, None, path)
        count = len(read_list(data.file("valid")))
        if len(found) != count:
            raise data.error("difficult", f"{len(found)} images; valid has {count}")
        return found

    def load(self, index):
        """The image and its boxes as they are in the files."""
        path = self.image_path(index)
        boxes, label, repairs = self.boxes(index, path)
        return Sample(self.pixels(index, path), boxes, path, label is None, repairs)

    def boxes(self, index, path=None):
        """(boxes, label path or None, repairs as text) of an entry, without its image."""
        label = labels.find(path or self.image_path(index))
        if label is None:
            return np.zeros((0, 5), np.float32), None, ()
        boxes, repairs = labels.read(label, self.classes)
        return boxes, label, tuple(str(problem) for problem in repairs)

    def check(self, limit=200):
        """Looks at up to `limit` images, spread over the list, and returns a `check.Check`; raises
        DataError where more than a tenth of them are broken, or none has a label file."""
        return check.quick(self, limit)

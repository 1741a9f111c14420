"""Data sets of classifiers: what an image shows stands in its path.

As Darknet reads them: an image is of class k when label k occurs anywhere in its path, as the
list spells it. Where several labels do, all of them count in training and the first in measuring;
that is said once for each image, since `cat` also occurs in `catalogue`. An image with none cannot
be used (Darknet trains on it as on nothing).
"""

import os

import numpy as np

from .check import Check
from .dataset import ImageList
from .image import ImageError
from .labels import LabelError
from .listing import read_list
from .lists import DataError, DataFile, read_names
from .paths import around, shown
from .sample import Sample

NO_BOXES = np.zeros((0, 5), np.float32)


class ClassifierDataset(ImageList):
    """Images of a list whose paths hold one of `labels`; `names` are shown to people.

    smooth: share of each label that is spread over the other classes ([net] label_smooth_eps).
    """

    def __init__(self, entries, labels, names=None, folders=None, path=None, smooth=0.0):
        super().__init__(entries, folders, path)
        self.labels, self.smooth = labels, smooth
        self.classes, self.names = len(labels), names or labels

    @classmethod
    def from_data(cls, path, part="train", smooth=0.0):
        """The list that a `.data` file has under `part`; its labels stand in the file `labels`,
        or else in `names`, which is otherwise for people only."""
        data = DataFile.read(path)
        labels, names = read_labels(data), data.names()
        if names and len(names) != len(labels):
            raise data.error("names", f"{len(names)} names, but {len(labels)} labels")
        images = data.file(part)
        return cls(read_list(images), labels, names, around(images, path), images, smooth)

    def shown_classes(self, index):
        """Numbers of the labels that the path of an entry holds."""
        text = self.entries[index].text
        return [number for number, label in enumerate(self.labels) if label in text]

    def load(self, index):
        """The image and how much of each class it shows."""
        path = self.image_path(index)
        found = self.shown_classes(index)
        if not found:
            raise LabelError(
                f"{self.where(index)}: {shown(self.entries[index].text)} holds none of the "
                f"{self.classes} labels"
            )
        labels = np.full(self.classes, self.smooth / max(1, self.classes - 1), np.float32)
        labels[found] = 1 - self.smooth
        several = ()
        if len(found) > 1:
            listed = ", ".join(shown(self.labels[k]) for k in found[:5])
            several = (f"{self.where(index)}: {len(found)} labels in one path: {listed}",)
        return Sample(self.pixels(index, path), NO_BOXES, path, repairs=several, labels=labels)

    def check(self, limit=200):
        """Looks at up to `limit` images, spread over the list, and returns a Check; raises
        DataError where more than a tenth of them cannot be used."""
        found = Check()
        count = min(limit, len(self))
        for index in np.linspace(0, len(self) - 1, count).round().astype(int):
            found.images += 1
            try:
                found.repairs += self.load(int(index)).repairs
            except (ImageError, LabelError) as error:
                found.broken.append(str(error))
        found.judge(self.path)
        return found


def read_labels(data):
    """The labels that a DataFile names, none of them empty: that would occur in every path."""
    key = next((key for key in ("labels", "names") if data.get(key)), "labels")
    path = data.file(key)
    labels = read_names(path)
    if not labels:
        raise DataError(f"{shown(path)}: no label in this list")
    for number, label in enumerate(labels, start=1):
        if not label:
            raise DataError(f"{shown(os.fspath(path))}:{number}: an empty label fits every path")
    return labels

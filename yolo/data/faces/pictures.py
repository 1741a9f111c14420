"""Images with faces, as a `.data` file names them.

train = train.txt            images with Darknet's labels: a box of any class is a face
valid = valid.txt

format = wider               train and valid are lists as WIDER FACE has them (wider.py)
images = WIDER_train/images  where their images lie; default: the list's folder
"""

import os

import numpy as np

from .. import image
from ..dataset import Dataset
from ..image import ImageError
from ..lists import DataFile
from ..paths import around, resolve, shown
from . import wider
from .boxes import POINTS, FaceBoxes


def open_faces(path, part="train"):
    """The images of the train or valid list of a `.data` file: anything with len(), where(index)
    and load(index) -> (image, FaceBoxes, path); what cannot be used raises ImageError or
    LabelError there."""
    data = DataFile.read(path)
    kind = data.get("format", "darknet")
    if kind == "darknet":
        return LabelledFaces(Dataset.from_data(path, part))
    if kind != "wider":
        raise data.error("format", f"format = {shown(kind)}; expected darknet or wider")
    listed = data.file(part)
    folders = around(listed, path)
    if data.get("images"):
        folders = tuple(os.path.join(folder, data.get("images")) for folder in around(path))
    return WiderFaces(wider.read(listed), folders, listed)


class LabelledFaces:
    """Images with Darknet's labels."""

    def __init__(self, dataset):
        self.dataset, self.path = dataset, dataset.path

    def __len__(self):
        return len(self.dataset)

    def where(self, index):
        """list:line, for messages."""
        return self.dataset.where(index)

    def mark(self, index):
        """Bytes that change with the entry, its image file's name and its labels."""
        path = self.dataset.image_path(index)
        return os.fsencode(path) + self.dataset.boxes(index, path)[0].tobytes()

    def load(self, index):
        sample = self.dataset.load(index)
        height, width = sample.image.shape[:2]
        x, y, w, h = sample.boxes[:, 1:].astype(np.float64).T
        edges = np.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), 1)
        boxes = edges * (width, height, width, height)
        count = len(boxes)
        found = FaceBoxes(boxes, np.full((count, POINTS, 2), np.nan), np.ones(count, bool))
        return sample.image, found, sample.path


class WiderFaces:
    """Images of a WIDER-style list."""

    def __init__(self, entries, folders, path):
        self.entries, self.folders, self.path = entries, folders, path

    def __len__(self):
        return len(self.entries)

    def where(self, index):
        return f"{shown(self.path)}:{self.entries[index].line}"

    def mark(self, index):
        entry = self.entries[index]
        return b"".join(
            (os.fsencode(entry.name), entry.faces.boxes.tobytes(), entry.faces.landmarks.tobytes())
        )

    def load(self, index):
        entry = self.entries[index]
        path = resolve(entry.name, self.folders)
        if path is None:
            looked = ", ".join(shown(folder) for folder in self.folders)
            raise ImageError(
                f"{self.where(index)}: {shown(entry.name)}: no such file; looked from {looked}"
            )
        return image.read(path), entry.faces, path

"""What goes from files to the network: one image with its boxes, and a mini-batch of them."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


@dataclass
class Sample:
    """One image and its objects."""

    image: np.ndarray  # uint8 (height, width, 3), RGB
    boxes: np.ndarray  # float32 (n, 5): class, centre x, y, width, height, relative to the image
    path: str
    unlabelled: bool = False  # there is no label file
    repairs: tuple = ()  # lines of the label file that were mended or left out, as text
    labels: np.ndarray | None = None  # float32 (classes,): how much of each; classifiers only


@dataclass
class Notes:
    """What was found wrong on the way to a batch; one entry each time it was met."""

    broken: list = field(default_factory=list)  # messages of images and labels that were replaced
    unlabelled: list = field(default_factory=list)  # paths of images without a label file
    repairs: list = field(default_factory=list)  # messages of label lines mended or left out

    def add(self, sample):
        """Books what a sample says about itself."""
        if sample.unlabelled:
            self.unlabelled.append(sample.path)
        self.repairs.extend(sample.repairs)

    def extend(self, other):
        """Takes over the entries of other notes."""
        self.broken += other.broken
        self.unlabelled += other.unlabelled
        self.repairs += other.repairs


@dataclass
class Batch:
    """A mini-batch. Workers fill `images` with bytes; the loader turns them into 0..1."""

    images: Tensor  # float32 (B, 3, height, width), 0 to 1
    boxes: Tensor  # float32 (N, 6): image in the batch, class, x, y, w, h, relative
    paths: list
    notes: Notes = field(default_factory=Notes)
    labels: Tensor | None = None  # float32 (B, classes), for classifiers
    whole: int | None = None  # images of the mini-batch of which this is one rank's share

    @property
    def images_of_all(self):
        """Images of the whole mini-batch."""
        return len(self) if self.whole is None else self.whole

    @property
    def truth(self):
        """What the network's loss compares with: labels, or else boxes."""
        return self.boxes if self.labels is None else self.labels

    def __len__(self):
        return len(self.images)


def collate(samples):
    """A batch of samples of one size; the images stay uint8, a quarter of the bytes to move."""
    height, width = samples[0].image.shape[:2]
    images = np.empty((len(samples), 3, height, width), np.uint8)
    rows = []
    for index, sample in enumerate(samples):
        images[index] = sample.image.transpose(2, 0, 1)
        number = np.full((len(sample.boxes), 1), index, np.float32)
        rows.append(np.concatenate((number, sample.boxes), axis=1))
    boxes = torch.from_numpy(np.concatenate(rows).astype(np.float32, copy=False))
    labels = None
    if samples[0].labels is not None:
        labels = torch.from_numpy(np.stack([sample.labels for sample in samples]))
    paths = [sample.path for sample in samples]
    return Batch(torch.from_numpy(images), boxes, paths, labels=labels)


def scaled(images):
    """Bytes 0..255 -> float32 0..1, as Darknet divides them."""
    return torch.div(images, 255) if images.dtype == torch.uint8 else images

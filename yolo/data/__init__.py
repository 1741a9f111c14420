"""Data: files or drawn shapes -> samples -> augmented mini-batches.

dataset = Dataset.from_data("my.data")          # or ShapesDataset(classes=10)
loader = Loader(dataset, batch=16, height=416, width=416, augment=Augment(jitter=0.3, flip=True))
batch = next(loader)                            # batch.images, batch.boxes, batch.paths
"""

from .augment import Augment, ClassifierAugment
from .check import Check
from .classifier import ClassifierDataset
from .dataset import Dataset
from .image import ImageError, fit, letterbox, read, stretch
from .labels import LabelError
from .listing import read_list
from .lists import DataError, DataFile, read_names
from .live import Live, SourceError, SourceWarning
from .loader import Loader, Order, default_workers
from .sample import Batch, Notes, Sample
from .shapes import ShapeClasses, ShapesDataset

__all__ = [
    "Augment",
    "Batch",
    "Check",
    "ClassifierAugment",
    "ClassifierDataset",
    "DataError",
    "DataFile",
    "Dataset",
    "ImageError",
    "LabelError",
    "Live",
    "Loader",
    "Notes",
    "Order",
    "Sample",
    "ShapeClasses",
    "ShapesDataset",
    "SourceError",
    "SourceWarning",
    "default_workers",
    "fit",
    "letterbox",
    "read",
    "read_list",
    "read_names",
    "stretch",
]

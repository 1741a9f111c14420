"""Data: files or drawn shapes -> samples -> augmented mini-batches.

dataset = Dataset.from_data("my.data")          # or ShapesDataset(classes=10)
loader = Loader(dataset, batch=16, height=416, width=416, augment=Augment(jitter=0.3, flip=True))
batch = next(loader)                            # batch.images, batch.boxes, batch.paths
"""

from .augment import Augment
from .check import Check
from .dataset import Dataset
from .image import ImageError, fit, letterbox, read, stretch
from .labels import LabelError
from .lists import DataError, DataFile, read_list, read_names
from .loader import Fitted, Loader, Order, default_workers, fitted
from .sample import Batch, Notes, Sample
from .shapes import ShapesDataset

__all__ = [
    "Augment",
    "Batch",
    "Check",
    "DataError",
    "DataFile",
    "Dataset",
    "Fitted",
    "ImageError",
    "LabelError",
    "Loader",
    "Notes",
    "Order",
    "Sample",
    "ShapesDataset",
    "default_workers",
    "fit",
    "fitted",
    "letterbox",
    "read",
    "read_list",
    "read_names",
    "stretch",
]

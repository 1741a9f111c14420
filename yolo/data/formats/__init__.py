"""Data sets in the formats of others: Darknet's labels, COCO's json, VOC's xml."""

from . import coco, darknet, voc
from .collection import Collection, FormatError, Object, Picture

__all__ = ["Collection", "FormatError", "Object", "Picture", "coco", "darknet", "voc"]

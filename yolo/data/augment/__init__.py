"""Augmentation: samples -> one sample of the network's size, whose boxes or labels stay true.

`Augment` is for detectors, `ClassifierAugment` for classifiers; both say how many images the next
sample takes (`images_needed`) and make it (`make`). Each step is a room: what part of an image is
shown (crop), colours, blur and noise (soften), where boxes lie then (place), and how several
images become one (mosaic, mix). Functions called `draw_*` decide with a numpy Generator, the
others only do what was decided, so that pixels and boxes follow one plan. Order, ranges and the
8-bit arithmetic are Darknet's (crop, resize, flip, colour, blur, noise, combine); where we differ
stands in docs/darknet-differences.md.
"""

from .classifier import ClassifierAugment
from .detector import Augment

__all__ = ["Augment", "ClassifierAugment"]

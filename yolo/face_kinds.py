"""Kinds of MTCNN's training samples, by the numbers that stand in their truth."""

from enum import IntEnum


class FaceKind(IntEnum):
    """What a sample is, and so which of the three losses it takes part in."""

    NEGATIVE = 0  # hardly any face: face or not
    POSITIVE = 1  # a face: face or not, box
    PART = 2  # a part of a face: box
    LANDMARK = 3  # a face whose landmarks are known: landmarks

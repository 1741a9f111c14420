"""Precision-recall curves, and the areas under them that the protocols differ in."""

import numpy as np


def precision_recall(right, count):
    """Precision and recall after each detection, the surest first."""
    tp = np.cumsum(right)
    return tp / np.arange(1, len(right) + 1), tp / count


def area_under_curve(precision, recall) -> float:
    """Every step of the recall times the best precision at that recall or beyond."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


def interpolated(precision, recall, points: int) -> float:
    """Mean over `points` levels of recall of the best precision at that level or beyond."""
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    levels = np.arange(points) / (points - 1)
    return float(envelope[np.searchsorted(recall, levels)].mean())

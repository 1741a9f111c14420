"""The faces of one image."""

from dataclasses import dataclass

import numpy as np

POINTS = 5  # landmarks: eye at the left, eye at the right, nose, mouth at the left, at the right


@dataclass
class FaceBoxes:
    """The faces of one image, in pixels."""

    boxes: np.ndarray  # float64 (n, 4): left, top, right, bottom
    landmarks: np.ndarray  # float64 (n, 5, 2): x, y; NaN where they are not known
    clear: np.ndarray  # bool (n,): False where the face cannot be told; no sample is made of it

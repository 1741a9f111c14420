"""One picture to look at, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from .image import ImageError


@dataclass
class Frame:
    """An image, or a frame of a video, a camera or a stream."""

    path: str | None  # None: it was in memory
    image: np.ndarray | None  # uint8 (H, W, 3) RGB; None where it cannot be read
    error: ImageError | None = None
    number: int | None = None  # in its video, from 0; of a camera dropped frames count too
    rate: float | None = None  # frames a second that its video states
    seconds: float | None = None  # since the first frame: by the video's rate, of a camera by clock
    begins: bool | None = None  # whether what came before is no part of its video; None: not known

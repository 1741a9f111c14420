"""What a run is asked to do, and where it stands."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from .metrics import METRICS


@dataclass
class Plan:
    """What one run does besides what the cfg says; see `python -m yolo train --help`."""

    out: Path
    name: str
    max_batches: int
    map_every: int | None = None  # iterations between measurements; None: never
    save_every: int = 1000
    save_last_every: int = 100
    precision: str = "fast"  # a word of ops.precision.WORDS for the device


@dataclass
class Progress:
    """Where a run stands after an iteration: what the progress line and metrics.csv show."""

    iteration: int = 0
    mini_batch: int = 0  # finished in the present iteration
    loss: float = math.nan
    avg_loss: float = math.nan
    rate: float = 0.0
    map: float | None = None  # measured in this iteration
    last_map: float | None = None
    best_map: float | None = None
    images: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0
    images_per_second: float = 0.0
    seconds_left: float = math.nan
    skipped: int = 0
    rows: list[dict] = field(default_factory=list)

    def row(self):
        """The values of one line of metrics.csv."""
        return {key: getattr(self, key) for key in METRICS}


def map_interval(images, batch):
    """Iterations between two measurements: four passes over the data, at least 100."""
    return max(100, 4 * images // max(1, batch))


def weights_interval(max_batches):
    """Iterations between two numbered weight files, as Darknet keeps them."""
    return 1000 if max_batches < 10000 else 10000

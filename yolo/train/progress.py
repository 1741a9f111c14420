"""What a run is asked to do, and where it stands."""

import math
from dataclasses import dataclass, field
from pathlib import Path

BASIC = ("iteration", "loss", "avg_loss", "rate", "map", "images", "skipped")
TIMES = ("seconds", "wait_seconds", "images_per_second")  # differ from run to run


@dataclass
class Plan:
    """What one run does besides what the cfg says; see `python -m yolo train --help`."""

    out: Path
    name: str
    map_every: int | None = None  # iterations between measurements; None: never
    score: str = "mAP"  # what they give
    save_every: int = 1000  # iterations between numbered weights
    save_last_every: int = 100  # iterations between checkpoints
    save_seconds: float = 600.0  # no longer than this between checkpoints
    keep: int = 1  # older checkpoints
    precision: str = "fast"  # a word of ops.precision.WORDS for the device
    seed: int = 0
    on_nan: str = "stop"  # or "skip"
    patience: int | None = None  # measurements without a better mAP before the run ends
    max_hours: float | None = None
    tensorboard: bool = False
    log_gradients: int | None = None  # iterations between lines of gradients.csv; None: no file
    sync_bn: bool = False  # batch normalisation over the images of all ranks
    bf16_gradients: bool = False  # half the bytes between ranks
    graph: bool = False  # CUDA graphs of what lies before the heads
    record: dict = field(default_factory=dict)  # kept in the checkpoint: flags, data, names


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
    measured: str = ""  # the latest measurement in words
    best_map: float | None = None
    worse: int = 0  # measurements since the best
    images: int = 0
    skipped: int = 0  # iterations whose numbers were not finite
    skipped_in_row: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0
    images_per_second: float = 0.0
    seconds_left: float = math.nan
    broken: int = 0  # images that another one stood in for
    height: int = 0
    width: int = 0
    heads: dict = field(default_factory=dict)  # layer -> Averages

    def row(self):
        """The values of one line of metrics.csv."""
        row = {key: getattr(self, key) for key in BASIC}
        for layer, averages in self.heads.items():
            row |= {f"{part}_{layer}": value for part, value in averages.columns().items()}
        return row | {key: getattr(self, key) for key in TIMES}


def map_interval(images, batch):
    """Iterations between two measurements: four passes over the data, at least 100."""
    return max(100, 4 * images // max(1, batch))


def weights_interval(max_batches):
    """Iterations between two numbered weight files, as Darknet keeps them."""
    return 1000 if max_batches < 10000 else 10000

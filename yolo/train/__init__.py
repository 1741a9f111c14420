"""Training: the loop (trainer), what it is asked to do and where it stands (progress), its table
(metrics), and what it says when a number is not finite (finite)."""

from .metrics import MetricsFile
from .progress import Plan, Progress, map_interval, weights_interval
from .trainer import Trainer, TrainError

__all__ = [
    "MetricsFile",
    "Plan",
    "Progress",
    "TrainError",
    "Trainer",
    "map_interval",
    "weights_interval",
]

"""Training.

trainer    the loop                          step      one iteration, wholly or not at all
progress   what is asked, where it stands    sizes     `random`: training at changing sizes
output     the files of a run                average   ema_alpha
state      what a checkpoint holds           memory    --auto-batch, out of memory
metrics    metrics.csv                       finite    numbers that are not finite
board      TensorBoard                       stop      Ctrl-C and SIGTERM
"""

from .memory import fit_subdivisions
from .progress import Plan, Progress, map_interval, weights_interval
from .sizes import largest_size
from .step import TrainError
from .trainer import Trainer

__all__ = [
    "Plan",
    "Progress",
    "TrainError",
    "Trainer",
    "fit_subdivisions",
    "largest_size",
    "map_interval",
    "weights_interval",
]

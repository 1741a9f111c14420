"""Training.

trainer      the loop                            average   ema_alpha
iterations   each wholly or not at all           memory    --auto-batch, out of memory
step         forward and backward passes         finite    numbers that are not finite
progress     what is asked, where it stands      metrics   metrics.csv
output       the files of a run                  board     TensorBoard
state        what a checkpoint holds             stop      Ctrl-C and SIGTERM
sizes        `random`: changing sizes           gradients gradients.csv
graph        --graph: layers as CUDA graphs
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

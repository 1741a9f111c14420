"""What a checkpoint holds of a run, and how a run takes it up again.

Tensors, by the name of a parameter or buffer of the network:

    net.*                        weights and rolling statistics
    update.*, first.*, second.*  the optimizer's: momentum, or Adam's averages
    average.*                    that of ema_alpha
    metrics                      rows of metrics.csv

The rate follows from the iteration and the cfg; the order of images, augmentation, sizes and
dropout follow from the seed, the iteration and the position, so that no generator has a state of
its own: every iteration starts the global ones anew (`seed_generators`).
"""

import platform
import random
from dataclasses import fields
from datetime import datetime, timezone

import numpy as np
import torch

from .. import cfg
from ..checkpoint import Checkpoint, CheckpointError
from .progress import Progress

STREAM = 4  # keeps these draws apart from the loader's and those of sizes
NOT_KEPT = ("heads", "mini_batch", "seconds_left")  # heads go by another way


def seed_generators(seed, iteration, rank=0):
    """Global generators of torch, NumPy and Python as they are at the start of an iteration."""
    words = np.random.SeedSequence((seed, STREAM, iteration, rank)).generate_state(3)
    torch.manual_seed(int(words[0]))
    np.random.seed(int(words[1]))  # noqa: NPY002  (for layers of users; ours draw from generators)
    random.seed(int(words[2]))


def capture(trainer):
    """The checkpoint of a trainer that stands between two iterations."""
    net, progress = trainer.net, trainer.progress
    kept = {f.name: getattr(progress, f.name) for f in fields(Progress)}
    state = {
        "name": trainer.plan.name,
        "iteration": net.iteration,
        "seen": net.seen,
        "position": trainer.position,
        "booked": trainer.booked,
        "start": trainer.sizes.start,
        "seed": trainer.plan.seed,
        "loss_scale": trainer.scale.kept(),
        "progress": {key: value for key, value in kept.items() if key not in NOT_KEPT},
        "heads": {str(layer): vars(averages) for layer, averages in progress.heads.items()},
        "columns": trainer.output.metrics.names,
        "cfg": cfg.dump(net.sections),
        "versions": versions(),
        "saved": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    return Checkpoint(state | trainer.plan.record, tensors(trainer))


def tensors(trainer):
    """Every tensor that a run needs, by name."""
    net = trainer.net
    found = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    for name, parameter in net.named_parameters():
        for kind, tensor in trainer.optimizer.state.get(parameter, {}).items():
            found[f"{kind}.{name}"] = tensor
    found |= {f"average.{name}": tensor for name, tensor in trainer.average.tensors.items()}
    return found | {"metrics": trainer.output.metrics.tensor()}


def versions():
    """What computed: results may differ in the last bit between versions."""
    from .. import __version__

    found = {"yolo": __version__, "torch": torch.__version__, "numpy": np.__version__}
    return found | {"python": platform.python_version(), "machine": platform.machine()}


KINDS = {"progress": dict, "heads": dict, "columns": list, "cfg": str} | dict.fromkeys(
    ("iteration", "seen", "position", "booked", "start"), int
)


def verify(checkpoint):
    """Refuses a checkpoint whose state lacks what `restore` takes from it."""
    for key, kind in KINDS.items():
        value = checkpoint.state.get(key)
        if not isinstance(value, kind):
            raise CheckpointError(
                f"the checkpoint holds no training: {key} is {value!r}, expected {kind.__name__}"
            )


def restore(trainer, checkpoint):
    """Puts a trainer where `capture` found it; nothing changes where the two do not fit."""
    try:
        _restore(trainer, checkpoint)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"the checkpoint does not fit the network: {error}") from None


def _restore(trainer, checkpoint):
    state, tensors, net = checkpoint.state, checkpoint.tensors, trainer.net
    net.load_state_dict(_part(tensors, "net"))
    device = next(net.parameters()).device
    for name, parameter in net.named_parameters():
        kinds = [kind for kind in ("update", "first", "second") if f"{kind}.{name}" in tensors]
        for kind in kinds:
            trainer.optimizer.state[parameter][kind] = tensors[f"{kind}.{name}"].to(device)
    average = _part(tensors, "average")
    trainer.average.tensors = {name: tensor.to(device) for name, tensor in average.items()}
    trainer.output.metrics.restore(tensors["metrics"], state["columns"])
    net.iteration, net.seen = state["iteration"], state["seen"]
    trainer.position, trainer.booked = state["position"], state["booked"]
    trainer.scale.restore(state.get("loss_scale"))
    heads = {int(i): net.layers[int(i)].averages(**sums) for i, sums in state["heads"].items()}
    trainer.progress = Progress(**state["progress"], heads=heads)


def _part(tensors, kind):
    """Tensors of one kind, without its prefix."""
    start = f"{kind}."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}

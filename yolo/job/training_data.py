"""What a job trains on, whatever kind of network it is.

A kind of network is a module with two functions: `takes(net)`, whether a network is of this kind,
and `open_data(net, args, out, console)`, which gives its TrainingData, checked before the first
step. `kinds.py` lists them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..data.shapes import TRAIN_LENGTH, VALID_LENGTH


@dataclass
class TrainingData:
    """Where images come from: what to train on and how it is varied, what to measure on and how
    (a function of network, data set and `precision`, which gives `score`), what the classes are.

    train: as data/dataset.py says. valid: what `measure` takes, or None: nothing is measured.
    """

    train: Any
    valid: Sequence | None
    names: list[str]
    augment: Any  # as data/augment has it: images_needed(rng), make(samples, size, rng)
    measure: Callable
    score: str
    pictures: bool = False  # whether finds on `valid` are drawn in the end


def drawn(dataset, net, classes, seed):
    """(training set, validation set) of drawn shapes, of the network's size."""
    parts, size = {"train": TRAIN_LENGTH, "valid": VALID_LENGTH}, net.input_shape[1:]
    return [dataset(classes, n, size, seed=seed, split=part) for part, n in parts.items()]


def colours(options):
    """Keys of [net] that vary images of every kind."""
    keys = ("hue", "saturation", "exposure")
    return {"flip": bool(options.flip)} | {key: getattr(options, key) for key in keys}


def names_of(dataset):
    """Names of a data set's classes, numbers where it has none."""
    return dataset.names or [str(i) for i in range(dataset.classes)]

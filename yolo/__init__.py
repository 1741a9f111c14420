"""Darknet networks in PyTorch: .cfg and .weights in, detections and trained weights out.

net = yolo.load("cfg/yolov4-tiny.cfg", "yolov4-tiny.weights")
net.predict("dog.jpg")
"""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from . import boxes as boxes
    from . import convert as convert
    from . import faces as faces
    from . import weights as weights
    from .detections import Detections
    from .network import Network

__version__ = "0.1.0"
__all__ = ["Detections", "Network", "load"]


def load(
    cfg: str | PathLike[str],
    weights: str | PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    strict: bool = False,
) -> Network:
    """The network of a .cfg file, with the values of a .weights file when one is given.

    strict: unknown keys of the cfg are errors, and so is a file that lacks layers; without it both
    are warned of.
    """
    from . import weights as weights_file
    from .cfg import read
    from .network import Network

    net = Network(read(cfg, strict=strict))
    if weights is not None:
        weights_file.load_all(net, weights, strict)
    return net.to(device).eval()


# Imported when first asked for: `import yolo` alone stays quick and needs no compiled part.
_HOMES = {"Network": "network", "Detections": "detections"}
_ROOMS = (
    "boxes",
    "cfg",
    "convert",
    "data",
    "evaluate",
    "export",
    "faces",
    "ops",
    "predict",
    "train",
    "weights",
)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'yolo' has no attribute {name!r}")

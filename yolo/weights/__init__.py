"""Files of trained values: Darknet's .weights and safetensors, and the tools that change them."""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from . import darknet, mtcnn, tensors
from .darknet import VERSION, Header, WeightsError, count, coverage

if TYPE_CHECKING:
    from ..network import Network

__all__ = [
    "VERSION",
    "Header",
    "WeightsError",
    "WeightsWarning",
    "count",
    "coverage",
    "load",
    "load_all",
    "save",
]


class WeightsWarning(UserWarning):
    """A file that leaves part of a network at its initial values."""


def load(
    net: Network,
    path: str | PathLike[str],
    cutoff: int | None = None,
    strict: bool = False,
) -> int:
    """Fills a network from a .weights or .safetensors file, or one of MTCNN's .npz files; returns
    how many layers it covers.

    cutoff: only so many layers; strict: the file must hold all of them.
    """
    kind = Path(path).suffix.lower()
    if kind == tensors.SUFFIX:
        tensors.load(net, path)
        return len(net.layers)
    if kind == mtcnn.SUFFIX:
        mtcnn.load(net, path)
        return len(net.layers)
    if kind in tensors.PICKLES:
        raise WeightsError(
            f"{path}: PyTorch's own files run code when they are read; save the state_dict with "
            "safetensors.torch.save_file and load that"
        )
    covered: int = darknet.load(net, path, cutoff, strict)
    return covered


def load_all(net: Network, path: str | PathLike[str], strict: bool = False) -> None:
    """As load(), for a network that is to be used as it is: a file that lacks layers is warned of,
    or with strict refused."""
    if load(net, path, strict=strict) < len(net.layers):
        warnings.warn(f"{path}: {coverage(net, path)}", WeightsWarning, stacklevel=3)


def save(
    net: Network,
    path: str | PathLike[str],
    cutoff: int | None = None,
    version: tuple[int, int, int] = VERSION,
) -> None:
    """Writes a .weights file, or a .safetensors one by its name; the file appears complete."""
    if Path(path).suffix.lower() == tensors.SUFFIX:
        tensors.save(net, path, version)
    else:
        darknet.save(net, path, cutoff, version)

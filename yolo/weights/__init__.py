"""Files of trained values: Darknet's .weights and safetensors, and the tools that change them."""

from pathlib import Path

from . import darknet, mtcnn, tensors
from .darknet import VERSION, Header, WeightsError, count

__all__ = ["VERSION", "Header", "WeightsError", "count", "load", "save"]


def load(net, path, cutoff=None, strict=False):
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
    return darknet.load(net, path, cutoff, strict)


def save(net, path, cutoff=None, version=VERSION):
    """Writes a .weights file, or a .safetensors one by its name; the file appears complete."""
    if Path(path).suffix.lower() == tensors.SUFFIX:
        tensors.save(net, path, version)
    else:
        darknet.save(net, path, cutoff, version)

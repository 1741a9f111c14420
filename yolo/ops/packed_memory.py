"""Memory of packed tensors (packed.py), kept from step to step."""

import math
import threading

import torch

from .native import library

BORDER = 1

_thread = threading.local()


def lanes():
    """V of the instruction set in use."""
    return library().packed.level()[1]


def empty(n, channels, height, width):
    """Uninitialised data of a Packed; its writer writes the border too."""
    return empty_data(shape_of(n, channels, height, width))


def shape_of(n, channels, height, width):
    """(n, blocks, rows, columns, V), border included."""
    v = lanes()
    return n, -(-channels // v), height + 2 * BORDER, width + 2 * BORDER, v


def empty_data(shape):
    """The same of such a shape."""
    return _memory(math.prod(shape)).view(shape)


def workspace(floats):
    """Scratch memory of this thread; the next call may hand out the same again."""
    kept = getattr(_thread, "workspace", None)
    if kept is None or kept.numel() < floats:
        _thread.workspace = None  # gone before the larger one comes
        _thread.workspace = kept = _memory(floats)
    return kept


def _memory(floats):
    """Uninitialised float32 values."""
    return torch.frombuffer(library().packed.Lease(floats), dtype=torch.float32)

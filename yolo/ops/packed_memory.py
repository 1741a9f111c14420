"""Memory of packed tensors (packed.py), kept from step to step."""

import math
import threading

import torch

from .native import library, threads

BORDER = 1

_thread = threading.local()


def lanes():
    """V of the instruction set in use."""
    return library().packed.level()[1]


def empty(n, channels, height, width):
    """Uninitialised data of a Packed; its writer writes the border too."""
    v = lanes()
    return empty_data((n, -(-channels // v), height + 2 * BORDER, width + 2 * BORDER, v))


def empty_data(shape):
    """The same of the shape (n, blocks, rows, columns, V), border included."""
    return _memory(math.prod(shape)).view(shape)


def zeros(shape):
    """The same of any shape, filled with 0."""
    data = empty_data(shape)
    library().packed.clear(data.data_ptr(), data.numel(), threads())
    return data


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

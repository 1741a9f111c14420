"""Sums of packed tensors (packed.py), a copy being the sum of one, and how a slice is handed on."""

from . import packed_memory
from .native import library, threads


def images(data):
    """data, each image of it in one piece, and the floats from one image to the next."""
    _, _, rows, columns, v = data.shape
    inside = rows * columns * v, columns * v, v, 1
    if data.stride()[1:] != inside:
        data = data.contiguous()
    return data, data.stride(0)


def write_sum(y, terms, factors=None):
    """Sum of terms (first block, data) into y, which may be a slice; 0 where no term reaches.
    factors: data of (n, c, 1, 1) for each term, times whose pixel it counts."""
    n, blocks, rows, columns, v = y.shape
    size = n, blocks * v, rows - 2 * packed_memory.BORDER, columns - 2 * packed_memory.BORDER
    terms = [(first, *images(data)) for first, data in terms]
    at = [f.data_ptr() for f in factors] if factors else [0] * len(terms)
    parts = [
        (x.data_ptr(), step, x.shape[1] * v, first, factor)
        for (first, x, step), factor in zip(terms, at, strict=True)
    ]
    library().packed.sum(size, parts, y.data_ptr(), y.stride(0), threads())

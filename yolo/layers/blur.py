"""The fixed blur that antialiasing=1 or 2 puts after a layer, which then works at stride 1.

1: [1 2 1] x [1 2 1] / 16 with a border of zeros;  2: the mean of 2 x 2, without a border.
"""

import torch

from ..ops import conv2d

ROWS = {1: ((0.25, 0.5, 0.25), 1), 2: ((0.5, 0.5), 0)}  # mode: (one side of the kernel, padding)


def read_mode(section):
    """0, 1 or 2; Darknet takes any other number for 1."""
    mode = section.int("antialiasing", 0)
    return mode if mode in (0, 2) else 1


def blur(x, mode, stride):
    """x (n, c, h, w) -> (n, c, p, q), each channel on its own."""
    row, padding = ROWS[mode]
    row = torch.tensor(row, dtype=x.dtype, device=x.device)
    channels = x.shape[1]
    kernel = (row[:, None] * row).repeat(channels, 1, 1, 1)
    return conv2d(x, kernel, None, stride, padding, 1, channels)


def blurred(shape, mode, stride):
    """(C, H, W) after the blur."""
    row, padding = ROWS[mode]
    channels, *plane = shape
    rows, cols = (
        (cells + 2 * padding - len(row)) // step + 1
        for cells, step in zip(plane, stride, strict=True)
    )
    return channels, rows, cols

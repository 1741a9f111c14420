"""[local_avgpool]  y = mean of each window, over those of its cells that lie in the image."""

from math import prod

import torch
import torch.nn.functional as F

from .layer import Layer


class LocalAvgpool(Layer):
    """Window mean; sizes as in [maxpool]."""

    def __init__(self, section, place):
        super().__init__(section, place)
        stride = section.int("stride", 1, 1)
        self.stride = section.int("stride_y", stride, 1), section.int("stride_x", stride, 1)
        self.size = section.int("size", stride, 1)
        self.padding = section.int("padding", self.size - 1, 0)  # both sides together
        if self.padding >= 2 * self.size:
            raise section.error(
                f"padding={self.padding}: the first windows of size={self.size} would be empty",
                "padding",
            )
        self.begin(place)

    def shape(self, x):
        channels, *plane = x
        if self.size > min(plane) + self.padding:
            raise self.section.error(
                f"size={self.size} is larger than the input {plane[0]} x {plane[1]} with "
                f"padding {self.padding}",
                "size",
            )
        rows, cols = (
            (cells + self.padding - self.size) // stride + 1
            for cells, stride in zip(plane, self.stride, strict=True)
        )
        return channels, rows, cols

    def forward(self, x):
        before = self.padding // 2
        sides = (before, self.padding - before) * 2
        window = {"kernel_size": self.size, "stride": self.stride, "divisor_override": 1}
        sums = F.avg_pool2d(F.pad(x, sides), **window)
        rows, cols = (self._cells(axis, sums.shape[2 + axis], x) for axis in (0, 1))
        return sums / (rows[:, None] * cols)

    def _cells(self, axis, windows, x):
        """How many cells of the image each window has along this axis."""
        first = torch.arange(windows, device=x.device) * self.stride[axis] - self.padding // 2
        return (first + self.size).clamp(max=x.shape[2 + axis]) - first.clamp(min=0)

    def flops(self):
        return self.size**2 * prod(self.out_shape)

    def window(self):
        return self.size, max(self.stride)

    def describe(self):
        return "", f"{self.size} x {self.size} / {self.stride[0]}"

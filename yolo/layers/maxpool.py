"""[maxpool]  y = largest value of each window; cells outside the image are ignored."""

from math import prod

import torch

from ..ops import spp_pool, unpack
from .blur import blur, blurred, read_mode
from .layer import Layer


def pool(section, place):
    """The layer of a [maxpool] section."""
    rare = section.int("antialiasing", 0) or section.bool("maxpool_zero_nonmax", False)
    return (RareMaxpool if rare else Maxpool)(section, place)


class Maxpool(Layer):
    """Window maximum over the plane, or over groups of channels (maxpool_depth)."""

    def __init__(self, section, place):
        super().__init__(section, place)
        stride = section.int("stride", 1, 1)
        self.stride = section.int("stride_y", stride, 1), section.int("stride_x", stride, 1)
        self.size = section.int("size", stride, 1)
        # both sides together; the smaller half lies above and left
        self.padding = section.int("padding", self.size - 1, 0)
        self.maxpool_depth = section.bool("maxpool_depth", False)
        self.out_channels = section.int("out_channels", 1, 1)
        self._read_rare(section)
        self.begin(place)

    def _read_rare(self, section):
        """Keys of RareMaxpool."""

    def shape(self, x):
        channels, height, width = x
        if self.maxpool_depth:
            return self._depth_shape(channels), height, width
        if self.size > min(height, width) + self.padding:
            raise self.section.error(
                f"size={self.size} is larger than the input {height} x {width} with "
                f"padding {self.padding}",
                "size",
            )
        rows = (height + self.padding - self.size) // self.stride[0] + 1
        return channels, rows, (width + self.padding - self.size) // self.stride[1] + 1

    def _depth_shape(self, channels):
        if channels % self.out_channels:
            raise self.section.error(
                f"out_channels={self.out_channels} must divide the {channels} channels of the "
                "input",
                "out_channels",
            )
        return self.out_channels

    @property
    def packs(self):
        return not self.maxpool_depth

    def forward(self, x):
        if not self.maxpool_depth:
            return spp_pool(x, self.size, self.stride, self.padding)
        # output channel g is the largest of the input channels g, g + out_channels, ...
        n, channels, height, width = x.shape
        steps = channels // self.out_channels
        return x.reshape(n, steps, self.out_channels, height, width).max(1).values

    def flops(self):
        return 0 if self.maxpool_depth else self.size**2 * prod(self.out_shape)

    def window(self):
        return (1, 1) if self.maxpool_depth else (self.size, max(self.stride))

    def describe(self):
        if self.maxpool_depth:
            return str(self.out_channels), "depth"
        down, across = self.stride
        stride = str(down) if down == across else f"{across}x{down}"
        return "", f"{self.size} x {self.size} / {stride}"


class RareMaxpool(Maxpool):
    """antialiasing: stride 1, then a blur with the stride; maxpool_zero_nonmax: what is not the
    largest of its own window becomes 0."""

    packs = False

    def _read_rare(self, section):
        self.antialiasing = read_mode(section)
        self.zero = section.bool("maxpool_zero_nonmax", False)
        if self.maxpool_depth and self.antialiasing:
            raise section.error("antialiasing does not go with maxpool_depth", "antialiasing")
        self.blur_stride = self.stride
        if self.antialiasing:
            self.stride = 1, 1

    def shape(self, x):
        out = super().shape(x)
        if self.zero and out != x:
            raise self.section.error(
                "maxpool_zero_nonmax needs an output of the input's size: stride=1",
                "maxpool_zero_nonmax",
            )
        return blurred(out, self.antialiasing, self.blur_stride) if self.antialiasing else out

    def forward(self, x):
        y = unpack(super().forward(x))
        if self.zero:
            y = torch.where(y == x, y, 0.0)
        return blur(y, self.antialiasing, self.blur_stride) if self.antialiasing else y

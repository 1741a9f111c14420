"""[upsample]  nearest neighbour, stride times larger; a negative stride sums blocks instead."""

from ..ops import enlarge
from .layer import Layer


class Upsample(Layer):
    """Enlarges (stride > 0) or shrinks (stride < 0) the plane; values times `scale`."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.stride = section.int("stride", 2)
        self.scale = section.float("scale", 1.0)
        if self.stride == 0:
            raise section.error("stride must not be 0", "stride")
        self.begin(place)

    def shape(self, x):
        channels, height, width = x
        if self.stride > 0:
            return channels, height * self.stride, width * self.stride
        block = -self.stride
        if height % block or width % block:
            raise self.section.error(
                f"stride={self.stride} does not divide the input {height} x {width}", "stride"
            )
        return channels, height // block, width // block

    @property
    def packs(self):
        return self.stride > 0

    def forward(self, x):
        return enlarge(x, self.stride, self.scale)

    def window(self):
        return (1, 1 / self.stride) if self.stride > 0 else (-self.stride, -self.stride)

    def describe(self):
        return "", f"{self.stride}x" if self.stride > 0 else f"1/{-self.stride}"

"""[reorg], [reorg3d]  blocks of stride x stride pixels become channels; reverse: the other way."""

from ..ops import reorg, reorg3d
from .layer import Layer


class Reorg3d(Layer):
    """True space-to-depth."""

    rearrange = staticmethod(reorg3d)

    def __init__(self, section, place):
        super().__init__(section, place)
        self.stride = section.int("stride", 1, 1)
        self.reverse = section.bool("reverse", False)
        self.begin(place)

    def shape(self, x):
        channels, height, width = x
        block = self.stride**2
        if self.reverse:
            self._divides(channels % block == 0, f"the square of stride, {block},", x)
            return channels // block, height * self.stride, width * self.stride
        self._divides(not (height % self.stride or width % self.stride), "stride", x)
        return channels * block, height // self.stride, width // self.stride

    def _divides(self, fits, what, x):
        if not fits:
            axis = f"{x[0]} channels" if self.reverse else f"height and width {x[1]} x {x[2]}"
            raise self.section.error(f"{what} must divide the {axis} of the input", "stride")

    def forward(self, x):
        return self.rearrange(x, self.stride, self.reverse)

    def window(self):
        return (1, 1 / self.stride) if self.reverse else (self.stride, self.stride)

    def describe(self):
        return "", f"{'x' if self.reverse else '/'} {self.stride}"


class Reorg(Reorg3d):
    """YOLOv2's order: the input's buffer is read as if it had other sizes."""

    rearrange = staticmethod(reorg)

"""[reorg], [reorg3d]  blocks of stride x stride pixels become channels; reverse: the other way."""

from ..ops import reorg, reorg3d
from .layer import Layer


class Reorg3d(Layer):
    """True space-to-depth."""

    packs = True
    rearrange = staticmethod(reorg3d)

    def __init__(self, section, place):
        super().__init__(section, place)
        self.stride = section.int("stride", 1, 1)
        self.reverse = section.bool("reverse", False)
        self.begin(place)

    def shape(self, x):
        channels, height, width = x
        block = self.stride**2
        needed = self.channel_multiple(block)
        if channels % needed:
            raise self._refusal(f"needs a multiple of {needed} channels, not {channels}")
        if self.reverse:
            return channels // block, height * self.stride, width * self.stride
        if height % self.stride or width % self.stride:
            raise self._refusal(f"does not divide the input's {height} x {width}")
        return channels * block, height // self.stride, width // self.stride

    def channel_multiple(self, block):
        """What must divide the channels: Darknet counts in blocks of the output's channels."""
        return block * block if self.reverse else 1

    def _refusal(self, why):
        return self.section.error(f"stride={self.stride} {why}", "stride")

    def forward(self, x):
        return self.rearrange(x, self.stride, self.reverse)

    def window(self):
        return (1, 1 / self.stride) if self.reverse else (self.stride, self.stride)

    def describe(self):
        return "", f"{'x' if self.reverse else '/'} {self.stride}"


class Reorg(Reorg3d):
    """YOLOv2's order: the input's buffer is read as if it had other sizes."""

    rearrange = staticmethod(reorg)

    def channel_multiple(self, block):
        """Darknet counts in blocks of the input's channels here."""
        return block

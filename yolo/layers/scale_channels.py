"""[scale_channels]  y[c,i,j] = f(x[c] * source[c,i,j]);  scale_wh:  y = f(x[0,i,j] * source)."""

from math import prod

from ..ops import ACTIVATIONS, activate, multiply
from ..ops.formulas import NATIVE_ACTIVATIONS
from .layer import Layer, times


class ScaleChannels(Layer):
    """Weighs each channel of `from` (or, with scale_wh, each pixel) by the layer before."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.sources = self.sources + self.refer(place, "from")
        if len(self.sources) != 2:
            raise section.error("from names one layer", "from")
        self.scale_wh = section.bool("scale_wh", False)
        self.activation = section.choice("activation", ACTIVATIONS, "linear")
        self.begin(place)

    def shape(self, x, source):
        wanted = (1, *source[1:]) if self.scale_wh else (source[0], 1, 1)
        if x != wanted:
            raise self.section.error(
                f"scales layer {self.sources[1]} ({times(source)}) and needs {times(wanted)} from "
                f"the layer before, which gives {times(x)}",
                "from",
            )
        return source

    @property
    def packs(self):
        return self.activation in NATIVE_ACTIVATIONS

    def forward(self, x, source):
        return activate(multiply(source, x), self.activation)

    def flops(self):
        return prod(self.out_shape)

    def describe(self):
        return str(self.sources[1]), "wh" if self.scale_wh else ""

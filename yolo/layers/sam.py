"""[sam]  y = f(x * source), value by value: spatial attention."""

from math import prod

from ..ops import ACTIVATIONS, activate, multiply
from ..ops.formulas import NATIVE_ACTIVATIONS
from .layer import Layer, times


class Sam(Layer):
    """Product of the layer before and `from`, of equal shape."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.sources = self.sources + self.refer(place, "from")
        if len(self.sources) != 2:
            raise section.error("from names one layer", "from")
        self.activation = section.choice("activation", ACTIVATIONS, "linear")
        self.begin(place)

    def shape(self, x, source):
        if x != source:
            raise self.section.error(
                f"multiplies the layer before ({times(x)}) and layer {self.sources[1]} "
                f"({times(source)}), which must have one shape",
                "from",
            )
        return x

    @property
    def packs(self):
        return self.activation in NATIVE_ACTIVATIONS

    def forward(self, x, source):
        return activate(multiply(source, x), self.activation)

    def flops(self):
        return prod(self.out_shape)

    def describe(self):
        return str(self.sources[1]), ""

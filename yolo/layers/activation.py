"""[activation]  y = f(x), value by value."""

from ..ops import ACTIVATIONS, activate
from ..ops.formulas import NATIVE_ACTIVATIONS
from .layer import Layer


class Activation(Layer):
    """Any of the activations on its own."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.activation = section.choice("activation", ACTIVATIONS, "linear")
        self.begin(place)

    @property
    def packs(self):
        return self.activation in NATIVE_ACTIVATIONS

    def forward(self, x):
        return activate(x, self.activation)

    def describe(self):
        return self.activation, ""

"""[empty], [silence]  y = x."""

from .layer import Layer


class Empty(Layer):
    """Passes its input on."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.begin(place)

    def forward(self, x):
        return x

    def saved(self):
        return 0

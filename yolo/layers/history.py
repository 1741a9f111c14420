"""[history]  y = the channels of this image and of the history_size - 1 before it in its stream."""

import torch

from .recurrent import Recurrent


class History(Recurrent):
    """The last images side by side, the present one first; those before the first are 0."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.history_size = section.int("history_size", 4, 1)
        self.begin(place)

    def shape(self, x):
        return x[0] * self.history_size, *x[1:]

    def state_shapes(self):
        return [(self.out_shape[0] - self.in_shapes[0][0], *self.out_shape[1:])]

    def step(self, x, state):
        y = torch.cat([x, *state], 1)
        return y, (y[:, : y.shape[1] - x.shape[1]],)

    def saved(self):
        return 0

    def describe(self):
        return "", f"{self.history_size} images"

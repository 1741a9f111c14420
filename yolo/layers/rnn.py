"""[rnn]  over time:  h <- f(A x) + g(B h) [+ h],  y = f(C h).

A, B and C are fully connected with bias; g is f, or logistic (logistic=1), or loggy (logistic=2).
"""

from math import prod

from ..ops import ACTIVATIONS
from .connected import Connected
from .recurrent import Recurrent

OF_STATE = {1: "logistic", 2: "loggy"}


class Rnn(Recurrent):
    """Plain recurrent layer; its state begins at 0 in every mini-batch of training."""

    carries = False

    def __init__(self, section, place):
        super().__init__(section, place)
        self.output = section.int("output", 1, 1)
        self.hidden = section.int("hidden", 1, 1)
        self.shortcut = section.bool("shortcut", False)
        activation = section.choice("activation", ACTIVATIONS, "logistic")
        normalise = int(section.bool("batch_normalize", False))
        of_state = OF_STATE.get(section.int("logistic", 0, 0), activation)
        self.begin(place)

        def connected(inputs, output, activation):
            keys = {"output": output, "activation": activation, "batch_normalize": normalise}
            return self.inner(Connected, place, (inputs, 1, 1), **keys)

        self.of_input = connected(prod(self.in_shapes[0]), self.hidden, activation)
        self.of_state = connected(self.hidden, self.hidden, of_state)
        self.to_output = connected(self.hidden, self.output, activation)

    def shape(self, x):
        return self.output, 1, 1

    def state_shapes(self):
        return [(self.hidden, 1, 1)]

    def step(self, x, state):
        (hidden,) = state
        new = self.of_input(x) + self.of_state(hidden)
        new = new + hidden if self.shortcut else new
        return self.to_output(new), (new,)

    def describe(self):
        return str(self.output), f"hidden {self.hidden}"

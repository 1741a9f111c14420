"""[lstm]  over time, s being the logistic function:

f, i, o = s(W h + U x),  g = tanh(W h + U x),  c <- f c + i g,  h <- o tanh(c),  y = h
"""

import torch

from .gated import Gated


class Lstm(Gated):
    """Long short-term memory."""

    gates = 4  # f, i, g, o

    def __init__(self, section, place):
        super().__init__(section, place)
        self.of_state = self.gates_of(place, self.output)
        self.of_input = self.gates_of(place, self.inputs())

    def state_shapes(self):
        return [(self.output, 1, 1)] * 2

    def step(self, x, state):
        hidden, cell = state
        pairs = zip(self.of_state, self.of_input, strict=True)
        f, i, g, o = (of_state(hidden) + of_input(x) for of_state, of_input in pairs)
        cell = f.sigmoid() * cell + i.sigmoid() * torch.tanh(g)
        hidden = o.sigmoid() * torch.tanh(cell)
        return hidden, (hidden, cell)

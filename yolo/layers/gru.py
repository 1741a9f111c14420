"""[gru]  over time, s being the logistic function:

z, r = s(U x + W h),  n = s(U x + W (r h)),  h <- z h + (1 - z) n,  y = h

Darknet takes the logistic function for n too, where tanh is usual.
"""

from .gated import Gated


class Gru(Gated):
    """Gated recurrent unit."""

    gates = 3  # z, r, n

    def __init__(self, section, place):
        super().__init__(section, place)
        self.of_input = self.gates_of(place, self.inputs())
        self.of_state = self.gates_of(place, self.output)

    def state_shapes(self):
        return [(self.output, 1, 1)]

    def step(self, x, state):
        (hidden,) = state
        z, r, n = (gate(x) for gate in self.of_input)
        z = (z + self.of_state[0](hidden)).sigmoid()
        r = (r + self.of_state[1](hidden)).sigmoid()
        new = (n + self.of_state[2](r * hidden)).sigmoid()
        hidden = z * hidden + (1 - z) * new
        return hidden, (hidden,)

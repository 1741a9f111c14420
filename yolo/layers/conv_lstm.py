"""[conv_lstm]  over time, s being the logistic function, * convolutions and a lstm_activation:

f, i = s(W * h + U * x [+ V * c]),  g = a(W * h + U * x),  c <- f c + i g
o = s(W * h + U * x [+ V * c]),  h <- o a(c),  y = h          (V: peephole=1; o sees the new c)

The state that goes on is held within +-state_constrain.
"""

from torch import nn

from ..ops import ACTIVATIONS, activate
from .crnn import check_same_size, kernel_keys
from .rare_convolutional import convolution
from .recurrent import Recurrent

ABSENT = {"bottleneck": "no published network has it, and Darknet's runs on a GPU alone"}
CONSTRAIN = 32  # times the steps


class ConvLstm(Recurrent):
    """Convolutional long short-term memory."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.output = section.int("output", 1, 1)
        self.peephole = section.bool("peephole", False)
        self.lstm_activation = section.choice(
            "lstm_activation", ("tanh", "leaky", "linear"), "tanh"
        )
        self.state_constrain = section.int("state_constrain", CONSTRAIN * self.time_steps, 1)
        self.refuse(ABSENT)
        section.ignore("shortcut", "time_normalizer")  # of the bottleneck
        keys = kernel_keys(section)
        keys["activation"] = section.choice("activation", ACTIVATIONS, "linear")
        self.begin(place)
        channels, *plane = self.in_shapes[0]

        def convolutions(channels, count):
            shape = channels, *plane
            made = [
                self.inner(convolution, place, shape, filters=self.output, **keys)
                for _ in range(count)
            ]
            for part in made:
                check_same_size(self, part)
            return nn.ModuleList(made)

        self.of_cell = convolutions(self.output, 3 if self.peephole else 0)  # f, i, o
        self.of_state = convolutions(self.output, 4)  # f, i, g, o
        self.of_input = convolutions(channels, 4)

    def shape(self, x):
        return self.output, *x[1:]

    def state_shapes(self):
        return [self.out_shape] * 2

    def step(self, x, state):
        hidden, cell = state
        pairs = zip(self.of_state, self.of_input, strict=True)
        f, i, g, o = (of_state(hidden) + of_input(x) for of_state, of_input in pairs)
        if self.peephole:
            f, i = f + self.of_cell[0](cell), i + self.of_cell[1](cell)
        cell = f.sigmoid() * cell + i.sigmoid() * activate(g, self.lstm_activation)
        if self.peephole:
            o = o + self.of_cell[2](cell)
        hidden = o.sigmoid() * activate(cell, self.lstm_activation)
        return hidden, (hidden, cell.clamp(-self.state_constrain, self.state_constrain))

    def describe(self):
        return str(self.output), "peephole" if self.peephole else ""

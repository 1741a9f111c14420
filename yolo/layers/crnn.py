"""[crnn]  over time:  h <- f(A * x) + f(B * h) [+ h],  y = f(C * h),  * being convolutions."""

from ..ops import ACTIVATIONS
from .rare_convolutional import convolution
from .recurrent import Recurrent

PASSED = {"size": 3, "stride": 1, "dilation": 1, "pad": 0, "padding": 0, "groups": 1, "xnor": 0}


def kernel_keys(section):
    """Keys of a recurrent section that mean the same in [convolutional]."""
    keys = {key: section.int(key, default) for key, default in PASSED.items()}
    return keys | {"batch_normalize": int(section.bool("batch_normalize", False))}


def check_same_size(layer, part):
    """Refuses convolutions after which the state does not fit its own input."""
    if part.out_shape[1:] != part.in_shapes[0][1:]:
        raise layer.section.error("must keep height and width: stride=1, and pad=1 for size=3")


class Crnn(Recurrent):
    """Recurrent layer of convolutions; its state begins at 0 in every mini-batch of training."""

    carries = False

    def __init__(self, section, place):
        super().__init__(section, place)
        self.output = section.int("output", 1, 1)
        self.hidden = section.int("hidden", 1, 1)
        self.shortcut = section.bool("shortcut", False)
        keys = kernel_keys(section)
        keys["activation"] = section.choice("activation", ACTIVATIONS, "logistic")
        self.begin(place)
        plane = self.in_shapes[0][1:]

        def inner(channels, filters):
            part = self.inner(convolution, place, (channels, *plane), filters=filters, **keys)
            check_same_size(self, part)
            return part

        self.of_input = inner(self.in_shapes[0][0], self.hidden)
        self.of_state = inner(self.hidden, self.hidden)
        self.to_output = inner(self.hidden, self.output)

    def shape(self, x):
        return self.output, *x[1:]

    def state_shapes(self):
        return [(self.hidden, *self.out_shape[1:])]

    def step(self, x, state):
        (hidden,) = state
        new = self.of_input(x) + self.of_state(hidden)
        new = new + hidden if self.shortcut else new
        return self.to_output(new), (new,)

    def describe(self):
        return str(self.output), f"hidden {self.hidden}"

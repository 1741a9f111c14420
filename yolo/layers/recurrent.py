"""What [rnn], [lstm], [gru], [crnn], [conv_lstm] and [history] share: time, and a lasting state.

Tensors are (steps * streams, C, H, W), step after step. In training [net] time_steps says how many
steps there are. Otherwise every image is the next one of its stream, and the state lasts from call
to call: until reset(), train(), eval() or inputs of another number or size.
"""

import torch

from ..cfg import Section
from ..ops import layout
from .layer import Layer, Place


class Recurrent(Layer):
    """Runs step(frame, state) -> (output, new state) over time."""

    changes = "its state goes on from one call to the next"
    carries = True  # whether the state goes on from one mini-batch of training to the next

    def __init__(self, section, place):
        super().__init__(section, place)
        self.time_steps = place.options.time_steps
        self.state = None  # tensors of the streams' present, without a graph

    @property
    def steps(self):
        """Steps that one call holds."""
        return self.time_steps if self.training else 1

    def reset(self):
        """Forgets the state."""
        self.state = None

    def train(self, mode=True):
        self.reset()
        return super().train(mode)

    def forward(self, x):
        if len(x) % self.steps:
            raise ValueError(
                f"{self.section.path}:{self.section.line}: [{self.section.name}] takes sequences "
                f"of time_steps={self.steps} images and got {len(x)} images"
            )
        frames = x.reshape(self.steps, len(x) // self.steps, *x.shape[1:])
        state, outputs = self._present(frames[0]), []
        with layout("planar"):  # steps add, cut and keep tensors
            for frame in frames:
                y, state = self.step(frame, state)
                outputs.append(y)
        self.state = tuple(part.detach() for part in state)
        return torch.cat(outputs)

    def _present(self, frame):
        """The state to go on from: the last one, where it fits, or zeros."""
        zeros = tuple(frame.new_zeros(len(frame), *shape) for shape in self.state_shapes())
        kept = self.state if self.carries or not self.training else None
        if kept is None or any(_kind(a) != _kind(b) for a, b in zip(kept, zeros, strict=True)):
            return zeros
        return kept

    def inner(self, kind, place, in_shape, **keys):
        """A layer inside this one, built as if a section with these keys stood in the file."""
        section = Section(self.section.name, self.section.line, self.section.source)
        for key, value in keys.items():
            section.set(key, value)
        inside = Place(place.options, {-1: in_shape}, parameters=place.parameters)
        layer = kind(section, inside)
        place.parameters = inside.parameters
        return layer

    def parts(self):
        """The inner layers, in the order of the file."""
        return [m for m in self.modules() if isinstance(m, Layer) and m is not self]

    def stored(self):
        return [tensor for part in self.parts() for tensor in part.stored()]

    def reset_parameters(self, generator):
        for part in self.parts():
            part.reset_parameters(generator)

    def fuse(self):
        for part in self.parts():
            part.fuse()

    def flops(self):
        return sum(part.flops() for part in self.parts())

    def saved(self):
        return sum(part.saved() for part in self.parts())


def _kind(tensor):
    return tensor.shape, tensor.dtype, tensor.device

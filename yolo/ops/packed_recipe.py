"""What a reader of a packed tensor x keeps in order to have x again in its backward pass.

    KEPT       x itself
    NormAct    z, which the producer of x = f(norm(z)) keeps anyway: a part of a concatenation
    Joined     what the parts of a concatenation keep: the whole would be there twice

Packed.kept() chooses. A concatenation has to be written anew in any case, and writing f(norm(z))
takes no longer than copying would; anything else is kept: computing it again is one pass more.

A Recipe holds tensors, for save_for_backward, and how x is made of them; whoever kept them there
hands them back, so that each is freed as soon as its last reader has run.
"""

from typing import NamedTuple

from . import packed_memory
from .native import activation_codes, library, threads
from .packed_sum import write_sum


class Recipe(NamedTuple):
    how: object  # KEPT, NormAct or Joined
    tensors: tuple  # the first of each part has its blocks


def read(how, tensors):
    """The data that a Recipe is for."""
    if how is KEPT:
        return tensors[0]
    n, _, *inside = tensors[0].shape
    x = packed_memory.empty_data((n, how.blocks(tensors), *inside))
    how.write(tensors, x)
    return x


class Kept:
    """The data itself."""

    count = 1  # tensors

    def blocks(self, tensors):
        return tensors[0].shape[1]

    def write(self, tensors, x):
        write_sum(x, [(0, tensors[0])])

    def part(self, tensors, first, channels):
        return Recipe(self, (_blocks(first, channels, tensors[0]),))


KEPT = Kept()


class NormAct:
    """f(scale * (z - mean) * rstd + bias) of the tensors z, mean, rstd, scale, bias"""

    count = 5

    def __init__(self, activation):
        self.activation = activation

    def blocks(self, tensors):
        return tensors[0].shape[1]

    def write(self, tensors, x):
        """Into x, a packed tensor or blocks of one."""
        z, *parameters = tensors
        n, _, rows, columns, _ = z.shape
        border = 2 * packed_memory.BORDER
        size = n, len(parameters[0]), rows - border, columns - border
        space = packed_memory.workspace(library().packed.norm_workspace(size))
        library().packed.norm_act_forward(
            size,
            z.data_ptr(),
            z.stride(0),
            [p.data_ptr() for p in parameters],
            activation_codes()[self.activation],
            x.data_ptr(),
            x.stride(0),
            space.data_ptr(),
            threads(),
        )

    def part(self, tensors, first, channels):
        z, *parameters = tensors
        parameters = [p[first : first + channels] for p in parameters]
        return Recipe(self, (_blocks(first, channels, z), *parameters))


class Joined:
    """One after the other along the channels."""

    def __init__(self, hows):
        self.hows, self.count = hows, sum(how.count for how in hows)

    def blocks(self, tensors):
        return sum(how.blocks(mine) for how, mine in self.each(tensors))

    def write(self, tensors, x):
        for how, mine in self.each(tensors):
            blocks = how.blocks(mine)
            how.write(mine, x[:, :blocks])
            x = x[:, blocks:]

    def each(self, tensors):
        """How each part is made, and its tensors."""
        for how in self.hows:
            yield how, tensors[: how.count]
            tensors = tensors[how.count :]


def joined(recipes):
    """The Recipe of a concatenation."""
    tensors = [t for recipe in recipes for t in recipe.tensors]
    return Recipe(Joined([recipe.how for recipe in recipes]), tensors)


def _blocks(first, channels, data):
    v = data.shape[4]
    return data[:, first // v : -(-(first + channels) // v)]

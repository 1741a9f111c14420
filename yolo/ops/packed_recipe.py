"""What a reader of a packed tensor x keeps in order to have x again in its backward pass.

    Kept       x itself
    NormAct    z, which the producer of x = f(norm(z)) keeps anyway: a part of a concatenation
    Joined     what the parts of a concatenation keep: the whole would be there twice

Packed.kept() chooses. A concatenation has to be written anew in any case, and writing f(norm(z))
takes no longer than copying would; anything else is kept: computing it again is one pass more.

A recipe holds tensors, for save_for_backward; the methods get them back from there, so that each
is freed as soon as its last reader has run. A Function keeps hollow(recipe) beside them.
"""

import copy

from . import packed_memory
from .native import activation_codes, library, threads


def read(recipe, tensors):
    """The data that the recipe is for."""
    if isinstance(recipe, Kept):
        return tensors[0]
    n, _, *inside = tensors[0].shape
    x = packed_memory.empty_data((n, recipe.blocks, *inside))
    recipe.write(tensors, x)
    return x


def hollow(recipe):
    """The recipe without its tensors: how to read what save_for_backward has kept."""
    empty = copy.copy(recipe)
    empty.tensors = (None,) * len(recipe.tensors)
    if isinstance(empty, Joined):
        empty.recipes = [hollow(each) for each in empty.recipes]
    return empty


class Kept:
    """The data itself."""

    def __init__(self, data):
        self.tensors, self.blocks = (data.detach(),), data.shape[1]

    def write(self, tensors, x):
        x.copy_(tensors[0])

    def part(self, first, channels):
        data = self.tensors[0]
        return Kept(data[:, _blocks(first, channels, data)])


class NormAct:
    """f(scale * (z - mean) * rstd + bias)"""

    def __init__(self, z, mean, rstd, scale, bias, activation):
        self.tensors = z, mean, rstd, scale.detach(), bias.detach()
        self.activation, self.blocks = activation, z.shape[1]

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

    def part(self, first, channels):
        z, *parameters = self.tensors
        parameters = [p[first : first + channels] for p in parameters]
        return NormAct(z[:, _blocks(first, channels, z)], *parameters, self.activation)


class Joined:
    """One after the other along the channels."""

    def __init__(self, recipes):
        self.recipes = recipes
        self.tensors = [t for recipe in recipes for t in recipe.tensors]
        self.blocks = sum(recipe.blocks for recipe in recipes)

    def write(self, tensors, x):
        for recipe in self.recipes:
            mine, tensors = tensors[: len(recipe.tensors)], tensors[len(recipe.tensors) :]
            recipe.write(mine, x[:, : recipe.blocks])
            x = x[:, recipe.blocks :]


def _blocks(first, channels, data):
    v = data.shape[4]
    return slice(first // v, -(-(first + channels) // v))

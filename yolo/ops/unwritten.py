"""Outputs of layers that nobody has written yet, in training: their readers write them.

Who reads an output first may compute it with something else, or write it where it belongs; else a
pass of its own does. How an output y is made of its inputs is an object with

    write(y, *inputs)           fills y; gives the tensors that backward needs
    gradients(grad_y, *kept)    those of the inputs
"""

from typing import NamedTuple

import torch

from .backend import uses_torch
from .grad import first_order, wants_grad
from .operator import result
from .packed import layout


class Copied(NamedTuple):
    """y is x, which is there already, or even is this very memory."""

    def write(self, y, x):
        if y.data_ptr() != x.data_ptr():
            y.copy_(x)
        return ()

    def gradients(self, grad_y):
        return (grad_y,)


class Unwritten:
    """A layer's output y: tensors that get gradients, and how y is made of them."""

    def __init__(self, inputs, how, shape):
        self.inputs, self.how, self.shape = inputs, how, shape
        self.place = None  # the place.Part of its concatenation, where it belongs to one
        self._y, self._readers = None, 0

    @property
    def dtype(self):
        return self.inputs[0].dtype

    @property
    def device(self):
        return self.inputs[0].device

    def dim(self):
        return 4

    def expect(self, readers):
        """That many layers will read this."""
        self._readers = readers
        return self

    @property
    def alone(self):
        """Whether it has one reader, who may write it."""
        return self._readers == 1 and self._y is None and torch.is_grad_enabled()

    def planar(self):
        """y, written by a pass of its own if nobody has written it before."""
        if self._y is None:
            with torch.enable_grad():  # also for a reader that is not trained
                self._y = _Write.apply(self.how, self.room, *self.inputs)
        return self._y

    def room(self):
        """Uninitialised memory for y, in its place if it has one.

        To autograd no view: parts do not overlap, and writing one changes no other."""
        if self.place is not None:
            y = self.place.data(self.shape, lambda shape: result(self.inputs[0], shape))
            if y.dtype == self.dtype:
                return y.data
        return result(self.inputs[0], self.shape)


class _Write(torch.autograd.Function):
    @staticmethod
    def forward(ctx, how, room, *inputs):
        y = room()
        ctx.how = how
        ctx.save_for_backward(*how.write(y, *inputs))
        return y

    @staticmethod
    @first_order("an operation in training")
    def backward(ctx, grad_y):
        grads = ctx.how.gradients(grad_y, *ctx.saved_tensors)
        return None, None, *needed(grads, ctx.needs_input_grad[2:])


def needed(grads, wanted):
    """Those gradients that are asked for, None for the rest."""
    return [grad if wants else None for grad, wants in zip(grads, wanted, strict=True)]


def begins(x):
    """Whether layers are to leave their outputs unwritten, that of x being one."""
    pending = layout.current == "pending" or (layout.current == "packed" and x.is_cuda)
    plain = not uses_torch() and not torch.compiler.is_compiling()
    return pending and plain and wants_grad(x)

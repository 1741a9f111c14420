"""[convolutional] with keys that few networks have:

antialiasing  stride 1, then a blur with the stride          share_index  another layer's weights
xnor          inputs and weights are +-1 (weights times the mean of |w| in their filter)
binary        only the weights are                           grad_centr   gradients without mean
cbn           statistics over the mini-batches of an iteration: ops/cross_norm.py
"""

from math import prod

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from ..ops import batch_norm_act, bias_act, conv2d, cross_batch_norm_act
from ..ops.grad import own
from .batchnorm import EPS
from .blur import blur, blurred, read_mode
from .convolutional import Convolutional

KEYS = ("antialiasing", "xnor", "binary", "grad_centr", "cbn")
CENTRED = 32  # Darknet centres only filters whose length is a multiple of it


def convolution(section, place):
    """The layer of a [convolutional] section."""
    rare = section.has("share_index") or any([section.int(key, 0) for key in KEYS])
    return (RareConvolutional if rare else Convolutional)(section, place)


class RareConvolutional(Convolutional):
    """A convolution that is more than one, or less."""

    packs, places, writes = False, False, ()

    def _read_rare(self, section):
        super()._read_rare(section)
        self.antialiasing = read_mode(section)
        self.xnor = section.bool("xnor", False)
        self.binary = section.bool("binary", False)
        self.grad_centr = section.bool("grad_centr", False)
        self.cbn = section.bool("cbn", False)
        self.batch_normalize = self.batch_normalize or self.cbn
        if self.xnor:
            self.groups = 1
            if self.dilation > 1:
                raise section.error("xnor=1 knows no dilation", "dilation")
        self.blur_stride = self.stride
        if self.antialiasing:
            self.stride = 1, 1

    def _allocate(self, place):
        self._shared = ()  # in a tuple: the other layer is no part of this one
        if self.section.has("share_index"):
            self._shared = (self._find_owner(place),)
        else:
            super()._allocate(place)
        if self.cbn:
            self.options = place.options
            for name in ("cross_mean", "cross_square"):
                self.register_buffer(name, torch.zeros(self.filters), persistent=False)
            number = torch.zeros((), dtype=torch.int64)  # of the last mini-batch in its iteration
            self.register_buffer("cross_number", number, persistent=False)

    def _find_owner(self, place):
        index = self.section.int("share_index")
        index = self.index + index if index < 0 else index
        if not 0 <= index < self.index:
            raise self.section.error(
                f"share_index: layer {index} is none before this one, {self.index}", "share_index"
            )
        owner = place.layers[index]
        owner = getattr(owner, "owner", owner)
        if not isinstance(owner, Convolutional) or not self._fits(owner):
            raise self.section.error(
                f"share_index: layer {index} [{owner.section.name}] is no convolution with the "
                "same filters, size, groups, input channels and batch_normalize",
                "share_index",
            )
        return owner

    def _fits(self, owner):
        shape = self.filters, self.in_shapes[0][0] // self.groups, self.size, self.size
        same = owner.groups == self.groups and owner.batch_normalize == self.batch_normalize
        return same and tuple(owner.weight.shape) == shape

    @property
    def owner(self):
        """The layer whose weights, biases and statistics count."""
        return self._shared[0] if self._shared else self

    def shape(self, x):
        out = super().shape(x)
        return blurred(out, self.antialiasing, self.blur_stride) if self.antialiasing else out

    def forward(self, x):
        own, padding, weight = self.owner, self.pad_cells, self.effective_weight()
        if self.xnor:
            x = _Signs.apply(x, not self.training)
            if not self.training and self.stride[0] == self.stride[1]:
                # Darknet counts bits then, and a cell of the border is a bit that is not set
                x, padding = F.pad(x, [padding] * 4, value=-1.0), 0
        y = conv2d(x, weight, None, self.stride, padding, self.dilation, self.groups)
        if self.batch_normalize:
            y = self._normalise(y, own.scale, own.bias, (own.rolling_mean, own.rolling_var))
        else:
            y = bias_act(y, own.bias, self.activation)
        return blur(y, self.antialiasing, self.blur_stride) if self.antialiasing else y

    def _normalise(self, x, scale, bias, rolling):
        if not (self.cbn and self.training):
            channels = scale, bias, *rolling
            return batch_norm_act(x, *channels, self.training, self.activation, eps=EPS)
        crossed = self.cross_mean, self.cross_square, self.cross_number
        how = self.options.subdivisions, self.activation
        return cross_batch_norm_act(x, scale, bias, rolling, crossed, *how, eps=EPS)

    def effective_weight(self):
        """The weights that are multiplied by."""
        weight = self.owner.weight
        if self.xnor or self.binary:
            weight = _Binary.apply(weight)
        if self.grad_centr and self.batch_normalize and prod(weight.shape[1:]) % CENTRED == 0:
            weight = _Centred.apply(weight)
        return weight

    def stored(self):
        return () if self._shared else super().stored()

    def reset_parameters(self, generator):
        if not self._shared:
            super().reset_parameters(generator)

    def fuse(self):
        if self._shared:
            self.batch_normalize = False  # the owner's weights have it already
        else:
            super().fuse()

    def flops(self):
        return 2 * self.owner.weight.numel() * prod(super().shape(self.in_shapes[0])[1:])


class _Signs(torch.autograd.Function):
    """x -> +-1; the gradient goes through where |x| < 1. strict: 0 is -1, as in bits."""

    @staticmethod
    def forward(ctx, x, strict):
        ctx.save_for_backward(x)
        return own(torch.where(x > 0 if strict else x >= 0, 1.0, -1.0).to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        (x,) = ctx.saved_tensors
        return grad_y * (x.abs() < 1), None


class _Binary(torch.autograd.Function):
    """w -> +-mean |w| of its filter; the gradient is taken for that by w."""

    @staticmethod
    def forward(ctx, weight):
        mean = weight.abs().mean((1, 2, 3), keepdim=True)
        return torch.where(weight > 0, mean, -mean)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_weight):
        return grad_weight


class _Centred(torch.autograd.Function):
    """w -> w; the gradient loses the mean of each filter."""

    @staticmethod
    def forward(ctx, weight):
        return weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_weight):
        return grad_weight - grad_weight.mean((1, 2, 3), keepdim=True)

"""[convolutional]  x (C, H, W) -> y (filters, P, Q):  y = f(norm(x * weight) + bias)."""

from math import prod, sqrt

import torch
from torch import nn

from ..ops import (
    ACTIVATIONS,
    Packed,
    Pending,
    begins_packed,
    bias_act,
    conv2d_act,
    conv_batch_norm_act,
    conv_bias_act,
    conv_norm_act,
    convolved,
    fits_packed,
)
from ..ops.shapes import ConvShape
from .batchnorm import EPS, rolling_buffers
from .layer import Layer

ABSENT = {
    "assisted_excitation": "Darknet's own is broken (it misreads the truth boxes)",
    "sway": "kernels are not deformed",
    "rotate": "kernels are not deformed",
    "stretch": "kernels are not deformed",
    "stretch_sway": "kernels are not deformed",
    "flipped": "convert the weights with the program that wrote them",
    "reverse": "Darknet's own is broken (it reshapes more than the gradients)",
    "coordconv": "Darknet's own is broken (it writes to the wrong cells)",
}


class Convolutional(Layer):
    """Convolution, batch normalisation or bias, activation."""

    writes, places = Pending, True

    def __init__(self, section, place):
        super().__init__(section, place)
        self.groups = max(1, section.int("groups", 1))
        self.filters = section.int("filters", 1, 1)
        self.activation = section.choice("activation", ACTIVATIONS, "logistic")
        self.batch_normalize = section.bool("batch_normalize", False)
        self._read_kernel(section)
        self._read_rare(section)
        self.begin(place)
        self._allocate(place)

    def _read_kernel(self, section):
        self.size = section.int("size", 1, 1)
        stride = section.int("stride", 1, 1)
        across, down = section.int("stride_x", -1), section.int("stride_y", -1)
        self.stride = (down if down > 0 else stride, across if across > 0 else stride)
        padding = section.int("padding", 0, 0)
        self.padding = self.size // 2 if section.bool("pad", False) else padding
        dilation = section.int("dilation", 1, 1)
        self.dilation = dilation if self.size > 1 else 1
        # Darknet pads by padding * dilation, so that pad=1 keeps the size at any dilation
        self.pad_cells = self.padding * self.dilation

    def _read_rare(self, section):
        # bin_output leaves out an activation before a layer that reads nothing but signs
        section.ignore("stream", "wait_stream", "dot", "angle", "bin_output")
        self.refuse(ABSENT)

    def _allocate(self, place):
        channels = self.in_shapes[0][0] // self.groups
        shape = (self.filters, channels, self.size, self.size)
        each = 4 if self.batch_normalize else 1
        place.check(self.section, "parameters", prod(shape) + each * self.filters)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(self.filters))
        if self.batch_normalize:
            self.scale = nn.Parameter(torch.ones(self.filters))
            rolling_buffers(self, self.filters)

    def shape(self, x):
        channels, height, width = x
        if channels % self.groups or self.filters % self.groups:
            raise self.section.error(
                f"groups={self.groups} must divide the {channels} channels of the input and the "
                f"{self.filters} filters",
                "groups",
            )
        reach = self.dilation * (self.size - 1) + 1
        padded = height + 2 * self.pad_cells, width + 2 * self.pad_cells
        if reach > min(padded):
            raise self.section.error(
                f"size={self.size} (reach {reach}) is larger than the padded input "
                f"{padded[0]} x {padded[1]}",
                "size",
            )
        rows, cols = ((p - reach) // s + 1 for p, s in zip(padded, self.stride, strict=True))
        return self.filters, rows, cols

    def conv_shape(self, images):
        """The ConvShape of a mini-batch."""
        size, pad, dilation = ((n, n) for n in (self.size, self.pad_cells, self.dilation))
        (c, h, w), (k, p, q) = self.in_shapes[0], self.out_shape
        return ConvShape(images, c, h, w, k, *size, p, q, self.stride, pad, dilation, self.groups)

    @property
    def packs(self):
        return fits_packed(self.conv_shape(1), self.activation)

    def _begins(self, x):
        """Whether it leads from the ordinary tensor x into the packed layout."""
        return begins_packed(x) and fits_packed(
            self.conv_shape(1), self.activation, image=not x.requires_grad
        )

    def _packed(self, x, place):
        how = self.activation, self.stride, self.pad_cells, self.dilation, self.groups
        if not self.batch_normalize:
            return conv_bias_act(x, self.weight, self.bias, *how, place=place)
        rolling = self.rolling_mean, self.rolling_var
        channels = self.scale, self.bias, rolling, self.training
        return conv_norm_act(x, self.weight, *channels, *how, eps=EPS, place=place)

    def forward(self, x, place=None):
        if isinstance(x, Packed) or self._begins(x):
            return self._packed(x, place)
        how = (self.stride, self.pad_cells, self.dilation, self.groups)
        if self.batch_normalize:
            channels, rolling = (self.scale, self.bias), (self.rolling_mean, self.rolling_var)
            return conv_batch_norm_act(
                x, self.weight, channels, rolling, self.training, self.activation, how, eps=EPS
            )
        if self.training:
            return bias_act(convolved(x, self.weight, how), self.bias, self.activation)
        return conv2d_act(x, self.weight, self.bias, self.activation, *how)

    def stored(self):
        yield self.bias
        if self.batch_normalize:
            yield from (self.scale, self.rolling_mean, self.rolling_var)
        yield self.weight

    def reset_parameters(self, generator):
        bound = sqrt(2 / prod(self.weight.shape[1:]))
        self.weight.data.uniform_(-bound, bound, generator=generator)

    @torch.no_grad()
    def fuse(self):
        if not self.batch_normalize:
            return
        factor = self.scale.double() / (self.rolling_var.double() + EPS).sqrt()
        bias = self.bias.double() - self.rolling_mean.double() * factor
        weight = self.weight.double() * factor.view(-1, 1, 1, 1)
        self.weight.copy_(weight)
        self.bias.copy_(bias)
        self.batch_normalize = False
        del self.scale, self.rolling_mean, self.rolling_var

    def flops(self):
        return 2 * self.weight.numel() * prod(self.out_shape[1:])

    def window(self):
        return self.dilation * (self.size - 1) + 1, max(self.stride)

    def saved(self):
        # batch normalisation keeps its input as well as the output
        return prod(self.out_shape) * (2 if self.batch_normalize else 1)

    def describe(self):
        down, across = self.stride
        stride = str(down) if down == across else f"{across}x{down}"
        dilation = f"({self.dilation})" if self.dilation > 1 else ""
        filters = f"{self.filters}/{self.groups}" if self.groups > 1 else str(self.filters)
        return filters, f"{self.size} x {self.size} / {stride}{dilation}"

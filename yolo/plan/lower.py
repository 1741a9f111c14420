"""Layers become steps: one function a kind of layer, found by the layer's class name.

A function raises Unsupported before it adds a step; the layer then runs by itself, between a step
that unpacks its inputs and one that packs its output.
"""

import numpy as np

from .convolutions import lower_connected, lower_convolutional
from .graph import Unsupported
from .pointwise import (
    lower_activation,
    lower_batchnorm,
    lower_sam,
    lower_scale_channels,
    lower_shortcut,
)
from .rearrange import lower_avgpool, lower_maxpool, lower_route, lower_upsample


class Lowering:
    """State of one lowering: the network's layers, and what the graph knows so far."""

    def __init__(self, net, graph, precision):
        self.layers = net.layers
        self.graph = graph
        self.precision = precision
        self.input_shape = net.input_shape
        self.heads = net.heads
        self.readers = {layer.index: [] for layer in net.layers}
        for layer in net.layers:
            for source in layer.sources:
                if source >= 0:
                    self.readers[source].append(layer.index)
        self.residuals = self._find_residuals()
        self.choices = {}
        self.planar = {
            -1: graph.add_planar(net.input_shape)
        }  # layer -> number of its planar output

    def run(self):
        """Adds all steps; returns the numbers of the heads' planar outputs."""
        for layer in self.layers:
            lower = LOWER.get(type(layer).__name__)
            try:
                if lower is None:
                    raise Unsupported("no packed kernel")
                if layer.regions is not None:
                    raise Unsupported("an output for each region of interest")
                lower(self, layer)
            except Unsupported as error:
                self.fall_back(layer, str(error))
        return [self.unpacked(index) for index in self.heads]

    def source(self, layer, number=0):
        """The value that a layer reads, packed if it is planar so far."""
        index = layer.sources[number]
        if index not in self.graph.values:
            self._pack(layer.index, index)
        return self.graph.values[index]

    def _pack(self, reader, index):
        number = self.planar[index]
        channels, height, width = self.graph.planar[number]
        value = self.graph.new(channels, height, width)
        self.graph.values[index] = value

        def emit(plan):
            plan.input(value.slice(), channels, number)

        why = "the network's input" if index == -1 else f"the output of layer {index}"
        self.graph.add(reader, "pack", why, [], value, emit)

    def unpacked(self, index):
        """The number of the planar tensor that holds the output of a layer."""
        if index not in self.planar:
            self.planar[index] = self.unpack(index, self.graph.values[index], [])
        return self.planar[index]

    def unpack(self, index, value, logistic):
        """Adds the step that makes a planar tensor of a value; returns the tensor's number."""
        number = self.graph.add_planar((len(value.channels), value.height, value.width))

        def emit(plan):
            plan.output(value.slice(), number, value.channels, logistic)

        self.graph.add(index, "unpack", "planar output", [value], None, emit)
        return number

    def fall_back(self, layer, why):
        """The layer runs by itself on planar tensors."""
        sources = [self.unpacked(index) for index in layer.sources]
        self.planar[layer.index] = self.graph.add_planar(layer.out_shape)
        self.graph.add_host(layer, why, sources, self.planar[layer.index])

    def _find_residuals(self):
        """{conv: (shortcut, other source)} where the convolution can add the other source."""
        found = {}
        for layer in self.layers:
            if type(layer).__name__ != "Shortcut" or not self._plain_sum(layer):
                continue
            conv, other = max(layer.sources), min(layer.sources)
            alone = self.readers[conv] == [layer.index] and conv not in self.heads
            if type(self.layers[conv]).__name__ == "Convolutional" and alone and other < conv:
                found[conv] = layer.index, other
        return found

    def _plain_sum(self, layer):
        two = len(layer.sources) == 2 and min(layer.sources) >= 0
        return (
            two
            and layer.weight is None
            and layer.activation == "linear"
            and layer.in_shapes[0] == layer.in_shapes[1]
        )


def lower_same(low, layer):
    source = layer.sources[0]
    for known in (low.graph.values, low.planar):
        if source in known:
            known[layer.index] = known[source]


def lower_yolo(low, layer):
    """The logistic and the scale of x and y are done on the way out of the packed layout."""
    each, scale = 5 + layer.classes, layer.scale_x_y
    entries = np.tile(np.float32([0, 1, 0]), (len(layer.mask), each, 1))  # logistic, scale, shift
    entries[:, :2] = 0, scale, -(scale - 1) / 2
    if not layer.new_coords:
        entries[:, [0, 1, *range(4, each)], 0] = 1
    low.planar[layer.index] = low.unpack(layer.index, low.source(layer), entries.ravel().tolist())


LOWER = {
    "Activation": lower_activation,
    "Avgpool": lower_avgpool,
    "Batchnorm": lower_batchnorm,
    "Connected": lower_connected,
    "Convolutional": lower_convolutional,
    "Cost": lower_same,
    "Dropout": lower_same,
    "Maxpool": lower_maxpool,
    "Route": lower_route,
    "Sam": lower_sam,
    "ScaleChannels": lower_scale_channels,
    "Shortcut": lower_shortcut,
    "Upsample": lower_upsample,
    "Yolo": lower_yolo,
}

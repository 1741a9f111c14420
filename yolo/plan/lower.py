"""Layers become steps: one function a kind of layer, found by the layer's class name."""

import numpy as np
import torch

from . import choose
from .graph import Unsupported, Value

# The activations that the packed kernels compute.
ACTIVATIONS = (
    *("linear", "logistic", "leaky", "relu", "relu6"),
    *("ramp", "tanh", "swish", "mish"),
)


class Lowering:
    """State of one lowering: the network's layers, and what the graph knows so far."""

    def __init__(self, net, graph, precision):
        self.layers = net.layers
        self.graph = graph
        self.precision = precision
        self.input_shape = net.input_shape
        self.heads = set(net.heads)
        self.readers = {layer.index: [] for layer in net.layers}
        for layer in net.layers:
            for source in layer.sources:
                if source >= 0:
                    self.readers[source].append(layer.index)
        self.residuals = self._find_residuals()
        self.choices = {}

    def run(self):
        for layer in self.layers:
            lower = LOWER.get(type(layer).__name__)
            if lower is None:
                raise Unsupported(
                    f"layer {layer.index} [{layer.section.name}] has no packed kernel"
                )
            lower(self, layer)

    def source(self, layer, number=0):
        """The value that a layer reads; the network's input is packed when first asked for."""
        index = layer.sources[number]
        values = self.graph.values
        if index == -1 and -1 not in values:
            channels, height, width = self.input_shape
            value = values[-1] = self.graph.new(channels, height, width)
            self.graph.add(
                layer.index,
                "pack",
                "the network's input",
                [],
                value,
                lambda plan: plan.input(value.slice(), channels),
            )
        return values[index]

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


def check_activation(layer, name):
    if name not in ACTIVATIONS:
        raise Unsupported(
            f"layer {layer.index} [{layer.section.name}] has activation {name}, which the packed "
            "kernels lack"
        )


def physical(array, axis, channels, count):
    """`array` spread along `axis` so that entry i lies at channels[i] of `count`."""
    if channels == list(range(count)):
        return array
    shape = list(array.shape)
    shape[axis] = count
    out = np.zeros(shape, np.float32)
    index = [slice(None)] * array.ndim
    index[axis] = channels
    out[tuple(index)] = array
    return out


def dense(weight, groups):
    """A grouped convolution's weight as an ordinary one, zero between groups."""
    if groups == 1:
        return weight
    k, depth = weight.shape[:2]
    out = np.zeros((k, depth * groups, *weight.shape[2:]), np.float32)
    for i in range(groups):
        rows = slice(i * k // groups, (i + 1) * k // groups)
        out[rows, i * depth : (i + 1) * depth] = weight[rows]
    return out


def lower_convolutional(low, layer):
    check_activation(layer, layer.activation)
    if layer.batch_normalize:
        raise Unsupported(f"layer {layer.index}: batch normalisation is not folded")
    weight = layer.weight.detach().float().numpy()
    bias = layer.bias.detach().float().numpy()
    pad = (layer.pad_cells, layer.pad_cells)
    convolve(
        low, layer, weight, bias, layer.activation, layer.stride, pad,
        (layer.dilation, layer.dilation), layer.groups,
    )  # fmt: skip


def convolve(low, layer, weight, bias, act, stride, padding, dilation, groups):
    """Adds the steps of a convolution, a residual included where one can be."""
    graph = low.graph
    kernel = tuple(weight.shape[2:])
    geometry = (*kernel, *stride, *padding, *dilation)
    k, p, q = len(bias), *layer.out_shape[1:]
    stem = layer.sources[0] == -1 and groups == 1 and weight[0].size <= 1024
    if stem and low.input_shape[0] < graph.lanes:
        return _stem(low, layer, weight, bias, act, geometry)
    x = low.source(layer)
    x.want_border(_reach(layer, x, kernel, stride, padding, dilation))
    if groups > 1 and groups == k == len(x.channels):
        return _depthwise(low, layer, x, weight, bias, act, geometry)
    out = graph.new(k, p, q)
    residual, target = _residual(low, layer, out)
    out_channels, in_channels = out.blocks * graph.lanes, x.blocks * graph.lanes
    choice = choose.candidates(
        graph.batch, in_channels, out_channels, kernel, stride, dilation, padding, p, q,
        low.precision,
    )  # fmt: skip
    low.choices[layer.index] = choice
    if groups > 1:
        choice.why += f"; {groups} groups as one dense convolution"

    def emit(plan):
        w = physical(dense(weight, groups), 1, x.channels, in_channels)
        w = physical(w, 0, out.channels, out_channels)
        b = physical(bias, 0, out.channels, out_channels)
        added = residual.slice() if residual else None
        plan.conv(choice.algorithm, x.slice(), out.slice(), added, w, b, geometry, act)

    inputs = [x, residual] if residual else [x]
    graph.add(layer.index, choice, "", inputs, out, emit)
    graph.values[target] = graph.values[layer.index] = out


def _reach(layer, x, kernel, stride, padding, dilation):
    """Pixels that a convolution reads outside its input, on the widest side."""
    sides = zip(layer.out_shape[1:], (x.height, x.width), kernel, stride, padding, dilation,
                strict=True)  # fmt: skip
    return max(max(pad, (n - 1) * s + (r - 1) * d - pad - (size - 1))
               for n, size, r, s, pad, d in sides)  # fmt: skip


def _residual(low, layer, out):
    """(value to add or None, index of the layer whose output this becomes)."""
    shortcut, other = low.residuals.get(layer.index, (layer.index, None))
    value = low.graph.values.get(other) if other is not None else None
    if value is None or value.channels != out.channels or value.blocks != out.blocks:
        return None, layer.index
    low.graph.values[shortcut] = out
    return value, shortcut


def _stem(low, layer, weight, bias, act, geometry):
    graph = low.graph
    out = graph.new(len(bias), *layer.out_shape[1:])
    count = out.blocks * graph.lanes

    def emit(plan):
        w, b = (physical(a, 0, out.channels, count) for a in (weight, bias))
        plan.stem(*low.input_shape, out.slice(), w, b, geometry, act)

    graph.values[layer.index] = out
    why = "reads the planar input"
    graph.add(layer.index, "stem", why, [], out, emit, 4 * count * weight[0].size)


def _depthwise(low, layer, x, weight, bias, act, geometry):
    out = Value(list(x.channels), x.blocks, *layer.out_shape[1:])
    count = x.blocks * low.graph.lanes
    residual, target = _residual(low, layer, out)

    def emit(plan):
        w, b = (physical(a, 0, x.channels, count) for a in (weight, bias))
        added = residual.slice() if residual else None
        plan.conv("depthwise", x.slice(), out.slice(), added, w, b, geometry, act)

    low.graph.values[target] = low.graph.values[layer.index] = out
    inputs = [x, residual] if residual else [x]
    why = "one filter a channel"
    low.graph.add(layer.index, "depthwise", why, inputs, out, emit, 4 * count * weight[0].size)


def lower_connected(low, layer):
    """A convolution whose kernel covers the whole input."""
    check_activation(layer, layer.activation)
    x = low.source(layer)
    weight = layer.weight.detach().float().numpy()
    weight = weight.reshape(len(weight), len(x.channels), x.height, x.width)
    bias = layer.bias.detach().float().numpy()
    convolve(low, layer, weight, bias, layer.activation, (1, 1), (0, 0), (1, 1), 1)


def lower_maxpool(low, layer):
    if layer.maxpool_depth:
        raise Unsupported(f"layer {layer.index} [maxpool] pools over channels")
    x = low.source(layer)
    out = Value(list(x.channels), x.blocks, *layer.out_shape[1:])
    size, before = (layer.size,) * 2, (layer.padding // 2,) * 2

    def emit(plan):
        plan.max_pool(x.slice(), out.slice(), size, layer.stride, before)

    low.graph.values[layer.index] = low.graph.add(layer.index, "max_pool", "", [x], out, emit)


def lower_avgpool(low, layer):
    x = low.source(layer)
    out = Value(list(x.channels), x.blocks, 1, 1)

    def emit(plan):
        plan.average_pool(x.slice(), out.slice())

    low.graph.values[layer.index] = low.graph.add(layer.index, "average_pool", "", [x], out, emit)


def lower_upsample(low, layer):
    if layer.stride < 0:
        raise Unsupported(f"layer {layer.index} [upsample] has a negative stride")
    x = low.source(layer)
    out = Value(list(x.channels), x.blocks, *layer.out_shape[1:])

    def emit(plan):
        plan.copy(x.slice(), out.slice(), [], layer.stride, layer.scale)

    low.graph.values[layer.index] = low.graph.add(layer.index, "copy", "enlarges", [x], out, emit)


def lower_route(low, layer):
    parts = [_group(low, layer, low.source(layer, i)) for i in range(len(layer.sources))]
    if len(parts) == 1:
        low.graph.values[layer.index] = parts[0]
        return
    out = Value([], 0, *layer.out_shape[1:])
    for part in parts:
        if part.home is not None:
            part = low.graph.copied(layer.index, part, "already lies in another concatenation")
        part.home, part.first = out, out.blocks
        out.border = max(out.border, part.border)
        out.channels += [out.blocks * low.graph.lanes + c for c in part.channels]
        out.blocks += part.blocks
    low.graph.values[layer.index] = out


def _group(low, layer, value):
    """The part of a source's channels that a route with groups takes."""
    if layer.groups == 1:
        return value
    lanes, size = low.graph.lanes, len(value.channels) // layer.groups
    begin = layer.group_id * size
    channels = value.channels[begin : begin + size]
    low_block = channels[0] // lanes
    if channels[0] % lanes == 0 and channels == list(range(channels[0], channels[0] + size)):
        blocks = channels[-1] // lanes - low_block + 1
        shifted = [c - low_block * lanes for c in channels]
        return Value(shifted, blocks, value.height, value.width, value, low_block)
    out = low.graph.new(size, value.height, value.width)
    order = channels + [-1] * (out.blocks * lanes - size)

    def emit(plan):
        plan.copy(value.slice(), out.slice(), order, 1, 1.0)

    why = "a group that begins inside a block"
    return low.graph.add(layer.index, "copy", why, [value], out, emit)


def _aligned(low, layer, value, like):
    """`value`, its channels where those of `like` are."""
    if value.channels == like.channels and value.blocks == like.blocks:
        return value
    return low.graph.copied(layer.index, value, "channels lie elsewhere", like)


def _pointwise(low, layer, a, b, kernel, act="linear", broadcast=False):
    out = Value(list(a.channels), a.blocks, a.height, a.width)

    def emit(plan):
        multiply = kernel == "multiply"
        plan.pointwise(a.slice(), b.slice(), out.slice(), multiply, broadcast, act)

    return low.graph.add(layer.index, kernel, "", [a, b], out, emit)


def lower_shortcut(low, layer):
    if layer.index in low.graph.values:
        return  # its convolution has added it
    check_activation(layer, layer.activation)
    if layer.weight is not None:
        raise Unsupported(f"layer {layer.index} [shortcut] has weights")
    if any(shape[1:] != layer.out_shape[1:] for shape in layer.in_shapes):
        raise Unsupported(f"layer {layer.index} [shortcut] takes every nth pixel of a source")
    total, count = low.source(layer), len(layer.sources) - 1
    for i in range(1, count + 1):
        other = _aligned(low, layer, low.source(layer, i), total)
        total = _pointwise(low, layer, total, other, "add", layer.activation if i == count else
                           "linear")  # fmt: skip
    low.graph.values[layer.index] = total


def lower_sam(low, layer):
    check_activation(layer, layer.activation)
    x = low.source(layer)
    other = _aligned(low, layer, low.source(layer, 1), x)
    low.graph.values[layer.index] = _pointwise(low, layer, x, other, "multiply", layer.activation)


def lower_scale_channels(low, layer):
    check_activation(layer, layer.activation)
    if layer.scale_wh:
        raise Unsupported(f"layer {layer.index} [scale_channels] scales pixels")
    source = low.source(layer, 1)
    factor = _aligned(low, layer, low.source(layer), source)
    low.graph.values[layer.index] = _pointwise(
        low, layer, source, factor, "multiply", layer.activation, True
    )


def lower_same(low, layer):
    low.graph.values[layer.index] = low.source(layer)


def lower_yolo(low, layer):
    """The logistic is done on the way out of the packed layout."""
    x = low.source(layer)
    each, scale = 5 + layer.classes, layer.scale_x_y
    logistic = np.zeros((len(layer.mask), each, 3), np.float32)
    if layer.new_coords:
        if scale != 1:
            raise Unsupported(f"layer {layer.index} [yolo] scales coordinates without a logistic")
    else:
        logistic[:, :2] = 1, scale, -(scale - 1) / 2
        logistic[:, 4:] = 1, 1, 0
    output(low, layer, x, torch.from_numpy(logistic).flatten().tolist(), None)
    low.graph.values[layer.index] = x


def lower_finished(low, layer):
    """PyTorch finishes what the plan leaves in planar layout."""
    if any(low.readers[layer.index]):
        raise Unsupported(f"layer {layer.index} [{layer.section.name}] is read by another layer")
    output(low, layer, low.source(layer), [], layer)
    low.graph.values[layer.index] = None


def output(low, layer, x, logistic, finish):
    number = len(low.graph.outputs)
    shape = (low.graph.batch, len(x.channels), x.height, x.width)
    low.graph.outputs.append((layer.index, shape, finish))

    def emit(plan):
        plan.output(x.slice(), number, x.channels, logistic)

    low.graph.add(layer.index, "unpack", "planar output", [x], None, emit)


LOWER = {
    "Convolutional": lower_convolutional,
    "Connected": lower_connected,
    "Maxpool": lower_maxpool,
    "Avgpool": lower_avgpool,
    "Upsample": lower_upsample,
    "Route": lower_route,
    "Shortcut": lower_shortcut,
    "Sam": lower_sam,
    "ScaleChannels": lower_scale_channels,
    "Dropout": lower_same,
    "Cost": lower_same,
    "Yolo": lower_yolo,
    "Softmax": lower_finished,
    "Region": lower_finished,
    "GaussianYolo": lower_finished,
    "Detection": lower_finished,
}

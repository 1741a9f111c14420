"""Convolutions become steps: dense, grouped, depthwise, the stem, connected layers, and everything
that is a factor and an offset for each channel."""

import numpy as np

from . import choose
from .graph import Unsupported, Value

# The activations that the packed kernels compute.
ACTIVATIONS = (
    *("linear", "logistic", "leaky", "relu", "relu6"),
    *("ramp", "tanh", "swish", "mish"),
)
MAX_CELLS = 1024  # of a kernel; of a stem, times its channels
POINT = (1, 1, 1, 1, 0, 0, 1, 1)  # the geometry of a 1x1 convolution


def check_activation(name):
    if name not in ACTIVATIONS:
        raise Unsupported(f"the packed kernels lack activation {name}")


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
    check_activation(layer.activation)
    weight = layer.weight.detach().float().numpy()
    bias = layer.bias.detach().float().numpy()
    pad = (layer.pad_cells, layer.pad_cells)
    convolve(
        low, layer, weight, bias, layer.activation, layer.stride, pad,
        (layer.dilation, layer.dilation), layer.groups,
    )  # fmt: skip


def lower_connected(low, layer):
    """A convolution whose kernel covers the whole input."""
    check_activation(layer.activation)
    _, height, width = layer.in_shapes[0]
    if height * width > MAX_CELLS:
        raise Unsupported(f"reads {height} x {width} cells, more than {MAX_CELLS}")
    weight = layer.weight.detach().float().numpy()
    weight = weight.reshape(len(weight), -1, height, width)
    bias = layer.bias.detach().float().numpy()
    convolve(low, layer, weight, bias, layer.activation, (1, 1), (0, 0), (1, 1), 1)


def convolve(low, layer, weight, bias, act, stride, padding, dilation, groups):
    """Adds the steps of a convolution, a residual included where one can be."""
    graph = low.graph
    kernel = tuple(weight.shape[2:])
    if kernel[0] * kernel[1] > MAX_CELLS:
        raise Unsupported(f"its kernel has more than {MAX_CELLS} cells")
    geometry = (*kernel, *stride, *padding, *dilation)
    stem = layer.sources[0] == -1 and groups == 1 and weight[0].size <= MAX_CELLS
    if stem and low.input_shape[0] < graph.lanes:
        return _stem(low, layer, weight, bias, act, geometry)
    x = low.source(layer)
    x.want_border(_reach(layer, x, kernel, stride, padding, dilation))
    if groups > 1 and groups == len(bias) == len(x.channels):
        return _depthwise(low, layer, x, weight, bias, act, geometry)
    out = graph.new(len(bias), *layer.out_shape[1:])
    bands = list(_bands(x, out, groups, graph.lanes))
    residual, target = _residual(low, layer, out)
    inputs, outputs = (max(band[i][1] for band in bands) * graph.lanes for i in (0, 1))
    choice = choose.candidates(
        graph.batch, inputs, outputs, kernel, stride, dilation, padding, *layer.out_shape[1:],
        low.precision, len(bands),
    )  # fmt: skip
    low.choices[layer.index] = choice
    if groups > 1:
        choice.why += f"; {groups} groups in {len(bands)} parts"

    def emit(plan):
        w = physical(dense(weight, groups), 1, x.channels, x.blocks * graph.lanes)
        w = physical(w, 0, out.channels, out.blocks * graph.lanes)
        b = physical(bias, 0, out.channels, out.blocks * graph.lanes)
        for of_x, of_out in bands:
            rows, columns = (_channels(part, graph.lanes) for part in (of_out, of_x))
            added = residual.slice(*of_out) if residual else None
            plan.conv(
                choice.algorithm, x.slice(*of_x), out.slice(*of_out), added,
                w[rows, columns], b[rows], geometry, act,
            )  # fmt: skip

    sources = [x, residual] if residual else [x]
    graph.add(layer.index, choice, "", sources, out, emit)
    graph.values[target] = graph.values[layer.index] = out


def _channels(part, lanes):
    first, blocks = part
    return slice(first * lanes, (first + blocks) * lanes)


def _bands(x, out, groups, lanes):
    """((first, blocks) of x, (first, blocks) of out) of each part of a grouped convolution: output
    blocks in a row that read the same input blocks."""
    if groups == 1:
        yield (0, x.blocks), (0, out.blocks)
        return
    depth, width = len(x.channels) // groups, len(out.channels) // groups
    previous, begin = None, 0
    for block in range(out.blocks + 1):
        reads = None
        if block < out.blocks:
            last = min((block + 1) * lanes, len(out.channels)) - 1
            read = x.channels[block * lanes // width * depth : (last // width + 1) * depth]
            reads = min(read) // lanes, max(read) // lanes
        if reads != previous and previous is not None:
            low, high = previous
            yield (low, high - low + 1), (begin, block - begin)
            begin = block
        previous = reads


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
    residual, target = _residual(low, layer, out)
    each_channel(low, layer, x, weight, bias, act, residual, geometry, out, "one filter a channel")
    low.graph.values[target] = low.graph.values[layer.index] = out


def each_channel(low, layer, x, weight, bias, act="linear", residual=None, geometry=POINT,
                 out=None, why="a factor and an offset a channel"):  # fmt: skip
    """act(weight * x + bias) + residual by the depthwise kernel: each channel has a filter of its
    own, weight (C, 1, r, s). Returns the value."""
    out = out or Value(list(x.channels), x.blocks, x.height, x.width)
    count = x.blocks * low.graph.lanes

    def emit(plan):
        w, b = (physical(a, 0, x.channels, count) for a in (weight, bias))
        added = residual.slice() if residual else None
        plan.conv("depthwise", x.slice(), out.slice(), added, w, b, geometry, act)

    inputs = [x, residual] if residual else [x]
    return low.graph.add(
        layer.index, "depthwise", why, inputs, out, emit, 4 * count * weight[0].size
    )

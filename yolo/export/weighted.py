"""Layers with weights as ONNX nodes: (graph, layer, name of the input) -> name of the output."""

from ..layers.blur import ROWS
from .activations import activate
from .graph import array


def convolutional(graph, layer, x):
    y = graph.add(
        "Conv",
        [x, graph.constant(array(layer.weight)), graph.constant(array(layer.bias))],
        **kernel(layer),
    )
    return activate(graph, layer, y)


def kernel(layer):
    """Attributes of a Conv."""
    return {
        "kernel_shape": [layer.size] * 2,
        "strides": list(layer.stride),
        "pads": [layer.pad_cells] * 4,
        "dilations": [layer.dilation] * 2,
        "group": layer.groups,
    }


def rare_convolutional(graph, layer, x):
    """Weights of another layer, weights or inputs that are +-1, and a blur behind it."""
    how = kernel(layer)
    if layer.xnor:
        above = graph.add("Greater", [x, graph.constant(0)])
        x = graph.add("Where", [above, graph.constant(1), graph.constant(-1)])
        if layer.stride[0] == layer.stride[1]:  # as the layer: a cell of the border is -1 then
            edges = [0, 0, layer.pad_cells, layer.pad_cells] * 2
            x = graph.add("Pad", [x, graph.integers(*edges), graph.constant(-1)])
            how["pads"] = [0] * 4
    weight, bias = array(layer.effective_weight()), array(layer.owner.bias)
    y = graph.add("Conv", [x, graph.constant(weight), graph.constant(bias)], **how)
    y = activate(graph, layer, y)
    return blur(graph, y, layer.filters, layer.antialiasing, layer.blur_stride)


def convolution(graph, layer, x):
    """A convolution inside another layer, of either kind."""
    emit = rare_convolutional if type(layer).__name__ == "RareConvolutional" else convolutional
    return emit(graph, layer, x)


def blur(graph, x, channels, mode, stride):
    """What antialiasing puts after a layer; mode 0: nothing."""
    if not mode:
        return x
    row, padding = ROWS[mode]
    square = [[[[a * b for b in row] for a in row]]] * channels
    size = {"kernel_shape": [len(row)] * 2, "pads": [padding] * 4}
    return graph.add(
        "Conv", [x, graph.constant(square)], strides=list(stride), group=channels, **size
    )


def connected(graph, layer, x):
    weight, bias = graph.constant(array(layer.weight)), graph.constant(array(layer.bias))
    y = graph.add("Gemm", [graph.add("Flatten", [x]), weight, bias], transB=1)
    return activate(graph, layer, graph.reshape(y, layer.output, 1, 1))


def local(graph, layer, x):
    """Each place's window (channels * size * size) times the weights of that place."""
    (channels, _, _), (rows, cols) = layer.in_shapes[0], layer.places
    if layer.pad:
        edges = [0, 0, layer.pad, layer.pad] * 2
        x = graph.add("Pad", [x, graph.integers(*edges)])
    parts = []
    for row in range(layer.size):
        for column in range(layer.size):
            first = graph.integers(row, column)
            end = graph.integers(*(
                begin + (count - 1) * layer.stride + 1
                for begin, count in ((row, rows), (column, cols))
            ))  # fmt: skip
            step = graph.integers(layer.stride, layer.stride)
            part = graph.add("Slice", [x, first, end, graph.integers(2, 3), step])
            parts.append(graph.reshape(part, channels, 1, rows * cols))
    windows = graph.add("Concat", parts, axis=2)
    windows = graph.reshape(windows, channels * layer.size**2, rows * cols)
    windows = graph.add("Transpose", [windows], perm=[2, 1, 0])  # (places, depth, batch)
    y = graph.add("MatMul", [graph.constant(array(layer.weight)), windows])
    y = graph.add("Transpose", [y], perm=[2, 1, 0])  # (batch, filters, places)
    y = graph.add("Add", [graph.reshape(y, *layer.out_shape), graph.constant(array(layer.bias))])
    return activate(graph, layer, y)

"""Layers with a state as ONNX nodes, one step of them: every image is the next one of its stream.

For each tensor of a state the graph takes state_LAYER_NUMBER and returns next_state_LAYER_NUMBER.
Who runs it gives zeros for the first image, and for each later one what the last run returned.
"""

from .activations import ACTIVATIONS
from .weighted import connected, convolution


def plain(inner):
    """[rnn], and [crnn] with convolutions: h <- f(A x) + g(B h) [+ h],  y = f(C h)"""

    def emit(graph, layer, x):
        (hidden,) = graph.state(layer)
        new = graph.add("Add", [inner(graph, layer.of_input, x),
                                inner(graph, layer.of_state, hidden)])  # fmt: skip
        new = graph.add("Add", [new, hidden]) if layer.shortcut else new
        graph.keep(layer, new)
        return inner(graph, layer.to_output, new)

    return emit


def lstm(graph, layer, x):
    hidden, cell = graph.state(layer)
    hidden, cell = _lstm_step(graph, layer, x, hidden, cell, connected, "tanh")
    graph.keep(layer, hidden, cell)
    return hidden


def conv_lstm(graph, layer, x):
    hidden, cell = graph.state(layer)
    activation = layer.lstm_activation
    hidden, cell = _lstm_step(graph, layer, x, hidden, cell, convolution, activation)
    limit = layer.state_constrain
    graph.keep(layer, hidden, graph.add("Clip", [cell, *map(graph.constant, (-limit, limit))]))
    return hidden


def _lstm_step(graph, layer, x, hidden, cell, inner, activation):
    """(new hidden, new cell); gates f, i, g, o, with peephole f, i, o see the cell, o the new."""
    pairs = zip(layer.of_state, layer.of_input, strict=True)
    f, i, g, o = (
        graph.add("Add", [inner(graph, of_state, hidden), inner(graph, of_input, x)])
        for of_state, of_input in pairs
    )
    peephole = getattr(layer, "peephole", False)

    def gate(value, number, seen):
        if peephole:
            value = graph.add("Add", [value, inner(graph, layer.of_cell[number], seen)])
        return graph.add("Sigmoid", [value])

    kept = graph.add("Mul", [gate(f, 0, cell), cell])
    added = graph.add("Mul", [gate(i, 1, cell), ACTIVATIONS[activation](graph, g)])
    cell = graph.add("Add", [kept, added])
    out = ACTIVATIONS[activation](graph, cell)
    return graph.add("Mul", [gate(o, 2, cell), out]), cell


def gru(graph, layer, x):
    (hidden,) = graph.state(layer)
    z, r, n = (connected(graph, gate, x) for gate in layer.of_input)

    def gate(value, number, seen):
        both = [value, connected(graph, layer.of_state[number], seen)]
        return graph.add("Sigmoid", [graph.add("Add", both)])

    z, r = gate(z, 0, hidden), gate(r, 1, hidden)
    new = gate(n, 2, graph.add("Mul", [r, hidden]))
    rest = graph.add("Sub", [graph.constant(1), z])
    hidden = graph.add("Add", [graph.add("Mul", [z, hidden]), graph.add("Mul", [rest, new])])
    graph.keep(layer, hidden)
    return hidden


def history(graph, layer, x):
    """The last images side by side, the present one first."""
    if layer.history_size == 1:
        return x
    y = graph.add("Concat", [x, *graph.state(layer)], axis=1)
    graph.keep(layer, graph.slice(y, 0, layer.out_shape[0] - layer.in_shapes[0][0]))
    return y


LAYERS = {
    "ConvLstm": conv_lstm,
    "Crnn": plain(convolution),
    "Gru": gru,
    "History": history,
    "Lstm": lstm,
    "Rnn": plain(connected),
}

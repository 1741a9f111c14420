"""Darknet's activations as ONNX operators; yolo/ops/formulas.py has the same as PyTorch."""

from ..ops.formulas import SELU_ALPHA, SELU_SCALE

MISH_OPSET = 18  # the first with an operator of this name


def activate(graph, layer, x):
    """Appends the layer's activation to x."""
    return ACTIVATIONS[layer.activation](graph, x)


def _single(operator, **attributes):
    return lambda graph, x: graph.add(operator, [x], **attributes)


def _swish(graph, x):
    return graph.add("Mul", [x, graph.add("Sigmoid", [x])])


def _mish(graph, x):
    if graph.opset >= MISH_OPSET:
        return graph.add("Mish", [x])
    return graph.add("Mul", [x, graph.add("Tanh", [graph.add("Softplus", [x])])])


def _clip(low, high):
    return lambda graph, x: graph.add("Clip", [x, graph.constant(low), graph.constant(high)])


def _ramp(graph, x):
    slope = graph.add("Mul", [x, graph.constant(0.1)])
    return graph.add("Add", [graph.add("Relu", [x]), slope])


def _loggy(graph, x):
    twice = graph.add("Mul", [graph.add("Sigmoid", [x]), graph.constant(2)])
    return graph.add("Sub", [twice, graph.constant(1)])


def _gelu(graph, x):
    cube = graph.add("Mul", [graph.add("Mul", [x, x]), x])
    inner = [graph.add("Mul", [x, graph.constant(0.797885)])]
    inner.append(graph.add("Mul", [cube, graph.constant(0.035677)]))
    tanh = graph.add("Tanh", [graph.add("Add", inner)])
    half = graph.add("Mul", [x, graph.constant(0.5)])
    return graph.add("Mul", [half, graph.add("Add", [tanh, graph.constant(1)])])


def _hard_mish(graph, x):
    """x * min(2, max(0, x + 2)) / 2"""
    lifted = graph.add("Add", [x, graph.constant(2)])
    gate = graph.add("Clip", [lifted, graph.constant(0), graph.constant(2)])
    return graph.add("Mul", [x, graph.add("Mul", [gate, graph.constant(0.5)])])


def _either(graph, condition, yes, no):
    return graph.add("Where", [condition, yes, no])


def _line(graph, x, slope, offset):
    return graph.add("Add", [graph.add("Mul", [x, graph.constant(slope)]), graph.constant(offset)])


def _pieces(graph, x, low, high, below, inside, above):
    """Three lines (slope, offset): below `low`, up to `high`, and above it."""
    is_low = graph.add("Less", [x, graph.constant(low)])
    is_high = graph.add("Greater", [x, graph.constant(high)])
    below, inside, above = (_line(graph, x, *line) for line in (below, inside, above))
    return _either(graph, is_low, below, _either(graph, is_high, above, inside))


def _plse(graph, x):
    return _pieces(graph, x, -4, 4, (0.01, 0.04), (0.125, 0.5), (0.01, 0.96))


def _lhtan(graph, x):
    return _pieces(graph, x, 0, 1, (0.001, 0), (1, 0), (0.001, 0.999))


def _stair(graph, x):
    """Flat from each even number to the next odd one, from there up by one."""
    half_of = graph.constant(0.5)
    n = graph.add("Floor", [x])
    half = graph.add("Floor", [graph.add("Mul", [x, half_of])])
    half_n = graph.add("Mul", [n, half_of])
    is_even = graph.add("Equal", [half_n, graph.add("Floor", [half_n])])
    slope = graph.add("Add", [graph.add("Sub", [x, n]), half])
    return _either(graph, is_even, half, slope)


def _share(graph, positive):
    """Each channel's share of its pixel's sum over the channels."""
    total = graph.add("ReduceSum", [positive, graph.integers(1)], keepdims=1)
    return graph.add("Div", [positive, graph.add("Add", [total, graph.constant(1e-4)])])


def _finite_share(graph, power):
    """The same; 0 where it is not finite."""
    y = _share(graph, power)
    finite = graph.add("Less", [graph.add("Abs", [y]), graph.constant(float("inf"))])
    return _either(graph, finite, y, graph.constant(0))


def _softmax(graph, x):
    return _finite_share(graph, graph.add("Exp", [x]))


def _softmax_maxval(graph, x):
    return _softmax(graph, graph.add("Sub", [x, graph.largest(x, 1)]))


ACTIVATIONS = {
    "linear": lambda graph, x: x,
    "logistic": _single("Sigmoid"),
    "loggy": _loggy,
    "leaky": _single("LeakyRelu", alpha=0.1),
    "revleaky": _single("LeakyRelu", alpha=0.1),
    "relie": _single("LeakyRelu", alpha=0.01),
    "relu": _single("Relu"),
    "relu6": _clip(0, 6),
    "hardtan": _clip(-1, 1),
    "ramp": _ramp,
    "tanh": _single("Tanh"),
    "elu": _single("Elu", alpha=1.0),
    "selu": _single("Selu", alpha=SELU_ALPHA, gamma=SELU_SCALE),
    "gelu": _gelu,
    "mish": _mish,
    "hard_mish": _hard_mish,
    "swish": _swish,
    "plse": _plse,
    "lhtan": _lhtan,
    "stair": _stair,
    "normalize_channels": lambda graph, x: _share(graph, graph.add("Relu", [x])),
    "normalize_channels_softmax": _softmax,
    "normalize_channels_softmax_maxval": _softmax_maxval,
}

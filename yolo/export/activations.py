"""Darknet's activations as ONNX operators; yolo/ops/formulas.py has the same as PyTorch."""

from ..ops.formulas import SELU_ALPHA, SELU_SCALE
from .graph import refusal

MISH_OPSET = 18  # the first with an operator of this name


def activate(graph, layer, x):
    """Appends the layer's activation to x."""
    if layer.activation not in ACTIVATIONS:
        raise refusal(layer, f"has activation {layer.activation}, which has no ONNX form here")
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
}

"""A network as an ONNX graph of standard operators, batch normalisation folded.

    onnx.save(model(net, batch=1), "yolov3.onnx")

The graph takes "images" (batch, C, H, W), RGB in 0..1, and returns what the network returns: the
output of each head as Darknet leaves it, under the name "head_<layer>".
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import YoloError

OPSET = 18


class ExportError(YoloError):
    """A layer for which there are no ONNX operators here."""


def model(net, batch=1):
    """ModelProto of `net` at its present input size for `batch` images."""
    net = net if net.is_fused else net.fused()
    graph = Graph(batch)
    graph.names[-1] = "images"
    for layer in net.layers:
        emit = LAYERS.get(type(layer).__name__)
        if emit is None:
            raise refusal(layer, "has no ONNX form here")
        graph.names[layer.index] = emit(graph, layer, *(graph.names[i] for i in layer.sources))
    outputs = []
    for index in net.heads:
        name = graph.add("Identity", [graph.names[index]], name=f"head_{index}")
        outputs.append(tensor(name, batch, net.layers[index].out_shape))
    inputs = [tensor("images", batch, net.input_shape)]
    made = helper.make_graph(graph.nodes, "yolo", inputs, outputs, graph.constants)
    opset = helper.make_opsetid("", OPSET)
    made = helper.make_model(made, opset_imports=[opset], ir_version=9, producer_name="yolo")
    onnx.checker.check_model(made)
    return made


class Graph:
    """Nodes and constants so far, and the name of each layer's output."""

    def __init__(self, batch):
        self.batch = batch
        self.nodes, self.constants, self.names = [], [], {}

    def add(self, operator, inputs, name=None, **attributes):
        """Appends a node; returns the name of its output."""
        name = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def constant(self, values, dtype=np.float32):
        """The name of a stored tensor."""
        name = f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(values, dtype)
        self.constants.append(numpy_helper.from_array(array, name))
        return name


def tensor(name, batch, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape])


def refusal(layer, why):
    return ExportError(f"{layer.section.path}: layer {layer.index} [{layer.section.name}] {why}")


def numpy(parameter):
    return parameter.detach().float().cpu().numpy()


# ---- activations ----


def _leaky(graph, x, slope=0.1):
    return graph.add("LeakyRelu", [x], alpha=slope)


def _mish(graph, x):
    return graph.add("Mish", [x])


def _swish(graph, x):
    return graph.add("Mul", [x, graph.add("Sigmoid", [x])])


def _relu6(graph, x):
    return graph.add("Clip", [x, graph.constant(0), graph.constant(6)])


ACTIVATIONS = {
    "linear": lambda graph, x: x,
    "logistic": lambda graph, x: graph.add("Sigmoid", [x]),
    "leaky": _leaky,
    "relu": lambda graph, x: graph.add("Relu", [x]),
    "relu6": _relu6,
    "tanh": lambda graph, x: graph.add("Tanh", [x]),
    "mish": _mish,
    "swish": _swish,
}


def activate(graph, layer, x):
    if layer.activation not in ACTIVATIONS:
        raise refusal(layer, f"has activation {layer.activation}, which has no ONNX form here")
    return ACTIVATIONS[layer.activation](graph, x)


# ---- layers: (graph, layer, names of the inputs) -> name of the output ----


def convolutional(graph, layer, x):
    y = graph.add(
        "Conv",
        [x, graph.constant(numpy(layer.weight)), graph.constant(numpy(layer.bias))],
        kernel_shape=[layer.size] * 2,
        strides=list(layer.stride),
        pads=[layer.pad_cells] * 4,
        dilations=[layer.dilation] * 2,
        group=layer.groups,
    )
    return activate(graph, layer, y)


def connected(graph, layer, x):
    weight, bias = graph.constant(numpy(layer.weight)), graph.constant(numpy(layer.bias))
    y = graph.add("Gemm", [graph.add("Flatten", [x]), weight, bias], transB=1)
    shape = graph.constant([graph.batch, layer.output, 1, 1], np.int64)
    return activate(graph, layer, graph.add("Reshape", [y, shape]))


def maxpool(graph, layer, x):
    """Darknet's padding is both sides' together; what is still missing below and right is added."""
    if layer.maxpool_depth:
        raise refusal(layer, "pools over channels, which has no ONNX form here")
    before = layer.padding // 2
    after = [
        max(0, (out - 1) * stride + layer.size - before - size)
        for out, stride, size in zip(
            layer.out_shape[1:], layer.stride, layer.in_shapes[0][1:], strict=True
        )
    ]
    return graph.add(
        "MaxPool",
        [x],
        kernel_shape=[layer.size] * 2,
        strides=list(layer.stride),
        pads=[before, before, *after],
    )


def avgpool(graph, layer, x):
    return graph.add("GlobalAveragePool", [x])


def upsample(graph, layer, x):
    if layer.stride < 0:
        raise refusal(layer, "has a negative stride, which has no ONNX form here")
    scales = graph.constant([1, 1, layer.stride, layer.stride])
    nearest = {"mode": "nearest", "nearest_mode": "floor"}
    y = graph.add("Resize", [x, "", scales], coordinate_transformation_mode="asymmetric", **nearest)
    return y if layer.scale == 1 else graph.add("Mul", [y, graph.constant(layer.scale)])


def channels(graph, x, begin, end):
    """Channels begin .. end of x."""
    return graph.add("Slice", [x, *(graph.constant([n], np.int64) for n in (begin, end, 1))])


def route(graph, layer, *sources):
    parts = []
    for name, (count, _, _) in zip(sources, layer.in_shapes, strict=True):
        size = count // layer.groups
        first = layer.group_id * size
        parts.append(name if layer.groups == 1 else channels(graph, name, first, first + size))
    return parts[0] if len(parts) == 1 else graph.add("Concat", parts, axis=1)


def shortcut(graph, layer, x, *sources):
    if layer.weight is not None:
        raise refusal(layer, "has weights, which have no ONNX form here")
    for name, shape in zip(sources, layer.in_shapes[1:], strict=True):
        if shape != layer.out_shape:
            raise refusal(layer, "adds layers of different channels, which has no ONNX form here")
        x = graph.add("Add", [x, name])
    return activate(graph, layer, x)


def product(graph, layer, x, source):
    return activate(graph, layer, graph.add("Mul", [x, source]))


def same(graph, layer, x):
    return x


def yolo(graph, layer, x):
    """Logistic of x, y, objectness and classes of each anchor, as the layer's activate()."""
    if layer.new_coords and layer.scale_x_y == 1:
        return x
    rows, cols = layer.out_shape[1:]
    each, anchors = layer.classes + 5, len(layer.mask)
    split = graph.constant([graph.batch * anchors, each, rows, cols], np.int64)
    x = graph.add("Reshape", [x, split])
    xy, wh, rest = (channels(graph, x, *ends) for ends in ((0, 2), (2, 4), (4, each)))
    if not layer.new_coords:
        xy, rest = graph.add("Sigmoid", [xy]), graph.add("Sigmoid", [rest])
    if layer.scale_x_y != 1:
        xy = graph.add("Mul", [xy, graph.constant(layer.scale_x_y)])
        xy = graph.add("Add", [xy, graph.constant((1 - layer.scale_x_y) / 2)])
    y = graph.add("Concat", [xy, wh, rest], axis=1)
    joined = graph.constant([graph.batch, anchors * each, rows, cols], np.int64)
    return graph.add("Reshape", [y, joined])


LAYERS = {
    "Convolutional": convolutional,
    "Connected": connected,
    "Maxpool": maxpool,
    "Avgpool": avgpool,
    "Upsample": upsample,
    "Route": route,
    "Shortcut": shortcut,
    "Sam": product,
    "ScaleChannels": product,
    "Dropout": same,
    "Cost": same,
    "Yolo": yolo,
}

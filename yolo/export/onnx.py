"""A network as an ONNX graph of standard operators, batch normalisation folded.

    onnx.save(model(net, batch=1), "yolov3.onnx")

The graph takes "images" (batch, C, H, W), RGB in 0..1. What it returns depends on `nodes`:

    heads        head_LAYER for each head: its output as Darknet leaves it
    boxes        boxes (batch, n, 4): x1, y1, x2, y2 relative to the input
                 scores (batch, n, classes): objectness times class probability
    detections   (n, 7): image, x1, y1, x2, y2, score, class, after suppression by IoU

A network with recurrent layers also takes state_LAYER_NUMBER and returns next_state_LAYER_NUMBER:
zeros for the first image of a stream, then what the last run returned.
"""

import json

import onnx
from onnx import TensorProto, helper

from ..predict import detection_heads
from .graph import ExportError, Graph
from .heads import decoded, suppressed
from .layers import LAYERS

NODES = ("heads", "boxes", "detections")
OPSET, OLDEST, NEWEST = 18, 13, 21
IR_VERSION = 9


def model(net, batch=1, nodes="heads", opset=OPSET, thresh=0.25, nms=0.45, metadata=None):
    """ModelProto of `net` at its present input size.

    batch: images of one run, None: any number.  thresh, nms: of `detections`.
    metadata: {name: text} beside what describes the preprocessing.
    """
    if nodes not in NODES:
        raise ExportError(f"nodes is one of {', '.join(NODES)}, got {nodes}")
    if not OLDEST <= opset <= NEWEST:
        raise ExportError(f"opset is {OLDEST} to {NEWEST}, got {opset}")
    net = net if net.is_fused else net.fused()
    graph = Graph(batch, opset)
    run_layers(graph, net)
    outputs = OUTPUTS[nodes](graph, net, thresh, nms)
    facts = described(net, nodes, thresh, nms) | (metadata or {})
    if graph.states:
        facts["states"] = json.dumps({name: f"next_{name}" for name in graph.states})
    return finished(graph, net, outputs, facts)


def run_layers(graph, net):
    """Appends every layer; graph.names then has the name of each one's output."""
    graph.names[-1] = "images"
    for layer in net.layers:
        emit = LAYERS[type(layer).__name__]
        graph.names[layer.index] = emit(graph, layer, *(graph.names[i] for i in layer.sources))


def finished(graph, net, outputs, facts):
    """The checked model of a graph."""
    inputs = [graph.value("images", net.input_shape)]
    inputs += [graph.value(name, shape) for name, shape in graph.states.items()]
    outputs = outputs + [
        graph.value(graph.add("Identity", [graph.kept[name]], name=f"next_{name}"), shape)
        for name, shape in graph.states.items()
    ]
    made = helper.make_graph(graph.nodes, "yolo", inputs, outputs, graph.constants)
    opset = helper.make_opsetid("", graph.opset)
    made = helper.make_model(
        made, opset_imports=[opset], ir_version=IR_VERSION, producer_name="yolo"
    )
    helper.set_model_props(made, facts)
    onnx.checker.check_model(made)
    return made


# ---- outputs ----


def heads(graph, net, thresh, nms):
    outputs = []
    for index in net.heads:
        name = graph.add("Identity", [graph.names[index]], name=f"head_{index}")
        outputs.append(graph.value_of(name, net.layers[index]))
    return outputs


def all_boxes(graph, net, thresh=None):
    """Names of the boxes and scores of all heads."""
    parts = [
        decoded(graph, layer, graph.names[layer.index], net.input_shape[1:], thresh)
        for _, layer in detection_heads(net)
    ]
    boxes, scores = (
        graph.add("Concat", list(names), axis=1, name=name)
        for name, names in zip(("boxes", "scores"), zip(*parts, strict=True), strict=True)
    )
    return boxes, scores


def boxes(graph, net, thresh, nms):
    all_boxes(graph, net)
    layers = [layer for _, layer in detection_heads(net)]
    count = sum(boxes_of(layer) for layer in layers)
    classes = layers[0].classes
    return [graph.value("boxes", (count, 4)), graph.value("scores", (count, classes))]


def boxes_of(layer):
    if hasattr(layer, "named"):  # one for each class of a region
        return layer.classes * layer.named.proposals
    cells = layer.side**2 if hasattr(layer, "side") else layer.out_shape[1] * layer.out_shape[2]
    return layer.boxes_per_cell * cells


def detections(graph, net, thresh, nms):
    suppressed(graph, *all_boxes(graph, net, thresh), thresh, nms)
    return [helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["found", 7])]


OUTPUTS = {"heads": heads, "boxes": boxes, "detections": detections}


def described(net, nodes, thresh, nms):
    """What a program needs to know to feed the graph and to read its outputs, as text."""
    channels, height, width = net.input_shape
    facts = {
        "input": f"images (batch, {channels}, {height}, {width}), RGB, 0..1",
        "resize": "letterbox" if net.options.letter_box else "stretch",
        "scale": "1/255",
        "outputs": nodes,
        "names": json.dumps(net.names or []),
    }
    anchors = {
        layer.index: [list(layer.anchors[n]) for n in layer.mask]
        for layer in (net.layers[i] for i in net.heads)
        if hasattr(layer, "mask")
    }
    if anchors:
        facts["anchors"] = json.dumps(anchors)
    if nodes == "detections":
        facts |= {"thresh": str(thresh), "nms": str(nms)}
    return facts

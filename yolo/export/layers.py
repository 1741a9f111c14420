"""Layers as ONNX nodes: (graph, layer, names of the inputs) -> name of the output."""

from math import prod

import numpy as np

from ..layers.batchnorm import EPS
from ..layers.maxpool import Maxpool
from . import recurrent, regions
from .activations import activate
from .graph import array
from .heads import activated, detection, mtcnn, softmax
from .weighted import blur, connected, convolutional, local, rare_convolutional


def batchnorm(graph, layer, x):
    tensors = (layer.scale, layer.bias, layer.rolling_mean, layer.rolling_var)
    names = [graph.constant(array(tensor)) for tensor in tensors]
    return graph.add("BatchNormalization", [x, *names], epsilon=EPS)


def window(layer, out):
    """Attributes of a pooling window with an output of that shape. Darknet's padding is both sides'
    together; what is still missing below and right is added."""
    before = layer.padding // 2
    after = [
        max(0, (out - 1) * stride + layer.size - before - size)
        for out, stride, size in zip(out[1:], layer.stride, layer.in_shapes[0][1:], strict=True)
    ]
    return {
        "kernel_shape": [layer.size] * 2,
        "strides": list(layer.stride),
        "pads": [before, before, *after],
    }


def maxpool(graph, layer, x):
    if not layer.maxpool_depth:
        before_blur = Maxpool.shape(layer, layer.in_shapes[0])
        return graph.add("MaxPool", [x], **window(layer, before_blur))
    channels, rows, cols = layer.in_shapes[0]
    parts = graph.reshape(x, channels // layer.out_channels, layer.out_channels, rows, cols)
    return graph.largest(parts, 1, keepdims=0)


def rare_maxpool(graph, layer, x):
    y = maxpool(graph, layer, x)
    if layer.zero:  # what is not the largest of its own window
        y = graph.add("Where", [graph.add("Equal", [y, x]), y, graph.constant(0)])
    return blur(graph, y, layer.out_shape[0], layer.antialiasing, layer.blur_stride)


def local_avgpool(graph, layer, x):
    return graph.add("AveragePool", [x], count_include_pad=0, **window(layer, layer.out_shape))


def avgpool(graph, layer, x):
    return graph.add("GlobalAveragePool", [x])


def upsample(graph, layer, x):
    if layer.stride < 0:  # sums of blocks
        block = [-layer.stride] * 2
        y = graph.add("AveragePool", [x], kernel_shape=block, strides=block)
        return graph.add("Mul", [y, graph.constant(layer.scale * prod(block))])
    scales = graph.constant([1, 1, layer.stride, layer.stride])
    nearest = {"mode": "nearest", "nearest_mode": "floor"}
    y = graph.add("Resize", [x, "", scales], coordinate_transformation_mode="asymmetric", **nearest)
    return y if layer.scale == 1 else graph.add("Mul", [y, graph.constant(layer.scale)])


def route(graph, layer, *sources):
    parts = []
    for name, (count, _, _) in zip(sources, layer.in_shapes, strict=True):
        size = count // layer.groups
        first = layer.group_id * size
        parts.append(name if layer.groups == 1 else graph.slice(name, first, first + size))
    return parts[0] if len(parts) == 1 else graph.add("Concat", parts, axis=1)


def shortcut(graph, layer, x, *sources):
    """Channels beyond those of a source pass unchanged."""
    factors = None
    if layer.weight is not None:
        factors = array(layer.factors())[:, :, None, None]  # (inputs, 1 or channels, 1, 1)
        x = graph.add("Mul", [x, graph.constant(factors[0])])
    channels = layer.out_shape[0]
    for number, (name, shape) in enumerate(zip(sources, layer.in_shapes[1:], strict=True), 1):
        shared = min(shape[0], channels)
        if step := shape[1] // layer.out_shape[1] - 1:  # every nth pixel of a larger source
            name = graph.every(name, step + 1)
        if shape[0] > channels:
            name = graph.slice(name, 0, channels)
        if factors is not None:
            factor = factors[number][:shared] if factors.shape[1] > 1 else factors[number]
            name = graph.add("Mul", [name, graph.constant(factor)])
        if shared == channels:
            x = graph.add("Add", [x, name])
        else:
            head = graph.add("Add", [graph.slice(x, 0, shared), name])
            x = graph.add("Concat", [head, graph.slice(x, shared, channels)], axis=1)
    return activate(graph, layer, x)


def product(graph, layer, x, source):
    return activate(graph, layer, graph.add("Mul", [x, source]))


def same(graph, layer, x):
    return x


def activation(graph, layer, x):
    return activate(graph, layer, x)


def prelu(graph, layer, x):
    return graph.add("PRelu", [x, graph.constant(array(layer.slope)[:, np.newaxis, np.newaxis])])


def reorg(graph, layer, x):
    """YOLOv2's order: the input's buffer is read as if it had other sizes."""
    return rearranged(graph, layer, x, layer.in_shapes[0])


def reorg3d(graph, layer, x):
    return rearranged(graph, layer, x, layer.out_shape)


def rearranged(graph, layer, x, sizes):
    """[c'][h][oy][w][ox] -> [oy][ox][c'][h][w], over sizes (C, H, W), c' = C / stride^2; reverse:
    from there to here."""
    stride = layer.stride
    channels, rows, cols = sizes[0] // stride**2, *sizes[1:]
    if layer.reverse:
        y = graph.reshape(x, stride, stride, channels, rows, cols)
        y = graph.add("Transpose", [y], perm=[0, 3, 4, 1, 5, 2])
    else:
        y = graph.reshape(x, channels, rows, stride, cols, stride)
        y = graph.add("Transpose", [y], perm=[0, 3, 5, 1, 2, 4])
    return graph.reshape(y, *layer.out_shape)


def normalization(graph, layer, x):
    band = graph.constant(array(layer.band))
    sums = graph.add("Conv", [graph.add("Mul", [x, x]), band], kernel_shape=[1, 1])
    scaled = graph.add("Mul", [sums, graph.constant(layer.alpha)])
    n = graph.add("Add", [scaled, graph.constant(layer.kappa)])
    return graph.add("Mul", [x, graph.add("Pow", [n, graph.constant(-layer.beta)])])


def crop(graph, layer, x):
    for axis in (1, 2):
        size = layer.out_shape[axis]
        first = (layer.in_shapes[0][axis] - size) // 2
        x = graph.slice(x, first, first + size, axis + 1)
    if layer.noadjust:
        return x
    return graph.add("Sub", [graph.add("Mul", [x, graph.constant(2)]), graph.constant(1)])


def implicit(graph, layer, x):
    """Read by layers that broadcast it over the images."""
    return graph.constant(array(layer.weight)[np.newaxis])


LAYERS = {
    "Activation": activation,
    "Avgpool": avgpool,
    "Batchnorm": batchnorm,
    "Connected": connected,
    "Contrastive": same,
    "Convolutional": convolutional,
    "Cost": same,
    "Crop": crop,
    "Detection": detection,
    "Dropout": same,
    "Empty": same,
    "GaussianYolo": activated,
    "Implicit": implicit,
    "Local": local,
    "LocalAvgpool": local_avgpool,
    "Maxpool": maxpool,
    "Mtcnn": mtcnn,
    "Normalization": normalization,
    "Prelu": prelu,
    "RareConvolutional": rare_convolutional,
    "RareMaxpool": rare_maxpool,
    "Region": activated,
    "Reorg": reorg,
    "Reorg3d": reorg3d,
    "Route": route,
    "Sam": product,
    "ScaleChannels": product,
    "Shortcut": shortcut,
    "Softmax": softmax,
    "Upsample": upsample,
    "Yolo": activated,
    **recurrent.LAYERS,
    **regions.LAYERS,
}

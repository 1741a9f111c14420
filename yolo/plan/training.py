"""Which kernels a training step on the CPU takes: a row for each convolution and for each other
layer that leaves the packed layout, why beside it."""

from typing import NamedTuple

import torch

from ..ops.formulas import NATIVE_ACTIVATIONS
from ..ops.native import conv_plan, library, native_conv_shape
from ..ops.packed_conv import fits

MIN_CHANNELS, MIN_PIXELS = 32, 256  # of Winograd's kernels in training


class Row(NamedTuple):
    """The kernels of one layer; grad_x is empty where nobody wants that gradient."""

    layer: int
    forward: str
    grad_x: str
    grad_weight: str
    why: str


def rows(net, batch, threads=None, precision="fast"):
    """Row of each convolution of the net in a mini-batch of so many images."""
    threads = threads or torch.get_num_threads()
    layers = [layer for layer in net.layers if _convolves(layer)]
    return [_row(net, layer, batch, threads, precision) for layer in layers]


def unpacked(net):
    """{number: why} of the other layers that take ordinary tensors, but for the heads."""
    others = [layer for layer in net.layers if not (_convolves(layer) or layer.is_output)]
    return {layer.index: f"planar: {_other(layer)}" for layer in others if not layer.packs}


def _convolves(layer):
    return type(layer).__name__ == "Convolutional"


def _other(layer):
    name = f"[{layer.section.name}]"
    activation = getattr(layer, "activation", "linear")
    if activation not in NATIVE_ACTIVATIONS:
        return f"{name} with {activation}"
    channels = " + ".join(str(shape[0]) for shape in layer.in_shapes)
    return f"{name} of {channels} channels has no packed kernel"


def describe(net, batch, threads=None, precision="fast"):
    """The same as a table."""
    size = " x ".join(map(str, (batch, *net.input_shape)))
    level = library().packed.level()[0]
    lines = [f"{level}, precision {precision}, input {size}"]
    lines.append(f"{'layer':>5}  {'forward':11s} {'grad_x':11s} {'grad_weight':11s} why")
    others = [Row(index, "", "", "", why) for index, why in unpacked(net).items()]
    for row in sorted([*rows(net, batch, threads, precision), *others]):
        kernels = " ".join(f"{kernel or '-':11s}" for kernel in row[1:4])
        lines.append(f"{row.layer:5d}  {kernels} {row.why}")
    return "\n".join(lines)


def _row(net, layer, batch, threads, precision):
    shape = layer.conv_shape(batch)
    image = layer.sources[0] == -1
    if not fits(shape, layer.activation, image):
        passes = ("forward", "" if image else "grad_x", "grad_weight")
        kernels = [conv_plan(shape, p, threads).algorithm if p else "" for p in passes]
        return Row(layer.index, *kernels, _unpacked(layer))
    native, fast = native_conv_shape(shape), precision == "fast"
    conv = library().packed.ConvTraining
    planar = image and conv.fits(native, True)
    taken = conv(native, planar, fast, threads).algorithm
    if taken == "stem":
        return Row(layer.index, "stem", "", "stem", "reads the planar image")
    if taken == "depthwise":
        return Row(layer.index, taken, "" if image else taken, taken, "a filter for each channel")
    grad_x = "remainders" if taken == "direct" and max(shape.stride) > 1 else taken
    grad_weight = "outer" if taken == "direct" else taken
    why = _packed(shape, taken, fast)
    if shape.groups > 1:
        why = f"{shape.groups} groups of {shape.c // shape.groups} channels"
    return Row(layer.index, taken, "" if image else grad_x, grad_weight, why)


def _unpacked(layer):
    if layer.groups > 1 and layer.activation in NATIVE_ACTIVATIONS:
        return f"planar: {layer.groups} groups of size {layer.size}"
    return f"planar: no packed kernel of size {layer.size}, stride {layer.stride[0]}, " \
           f"padding {layer.pad_cells}, {layer.activation}"  # fmt: skip


def _packed(shape, taken, fast):
    if taken in ("winograd4", "phases"):
        return f"3 x 3, stride {shape.stride[0]}"
    geometry = shape.r, shape.s, *shape.padding, *shape.dilation
    if geometry != (3, 3, 1, 1, 1, 1) or shape.stride not in ((1, 1), (2, 2)):
        return "only direct fits this kernel"
    if not fast:
        return "precision is exact"
    if min(shape.c, shape.k) < MIN_CHANNELS:
        return f"fewer than {MIN_CHANNELS} channels"
    if shape.n * shape.p * shape.q < MIN_PIXELS:
        return f"fewer than {MIN_PIXELS} pixels in all images"
    return "its maps would leave tiles of 4 x 4 pixels empty"

"""The convolutions of a network, and the least time that each could take.

A pass must do its multiplications and move each of its three tensors once; the floor is the longer
of the two at the rates that were measured on the machine (kernels.md calls it the roofline).
"""

from typing import NamedTuple

import torch

from yolo import cfg
from yolo.layers.convolutional import Convolutional
from yolo.network import Network
from yolo.ops.shapes import conv_shape

PASSES = ("forward", "grad_x", "grad_weight")


class Ceiling(NamedTuple):
    """What a device reaches at best: bytes a second of a copy, FLOP a second by precision."""

    bytes: float
    flops: dict


# measured: a device copy, a large matrix product on random data (TF32 taken as half of bf16)
CEILINGS = {
    "H200": Ceiling(4.3e12, {"bf16": 790e12, "fp16": 790e12, "tf32": 395e12, "fp32": 60e12}),
}
ITEM = {"bf16": 2, "fp16": 2, "tf32": 4, "fp32": 4}


def layer_shapes(path, batch, height=None, width=None):
    """ConvShape -> how often the network has it, in order of appearance."""
    with torch.device("meta"):
        net = Network(cfg.read(str(path)))
    size = height or net.input_shape[1], width or net.input_shape[2]
    if size != tuple(net.input_shape[1:]):
        net.resize(*size)
    found = {}
    for layer in net.layers:
        if isinstance(layer, Convolutional):
            x = torch.empty(batch, *layer.in_shapes[0], device="meta")
            place = layer.stride, layer.pad_cells, layer.dilation, layer.groups
            shape = conv_shape(x, layer.weight, None, *place)
            found[shape] = found.get(shape, 0) + 1
    return found


def flops(a):
    """Operations of one pass."""
    return 2 * a.n * a.k * a.p * a.q * (a.c // a.groups) * a.r * a.s


def traffic(a, name, precision):
    """Bytes that one pass reads and writes at least; grad_weight is written as float32."""
    item = ITEM[precision]
    weights = a.k * (a.c // a.groups) * a.r * a.s * (4 if name == "grad_weight" else item)
    return item * (a.n * a.c * a.h * a.w + a.n * a.k * a.p * a.q) + weights


def floor(a, name, precision, ceiling):
    """Seconds that one pass takes at least."""
    return max(flops(a) / ceiling.flops[precision], traffic(a, name, precision) / ceiling.bytes)


def network_floor(path, batch, size, passes, precision, ceiling):
    """Seconds that the convolutions of a network take at least; nobody wants grad_x of the first.
    0 where the ceiling is None."""
    if ceiling is None:
        return 0.0
    total = 0.0
    for i, (a, count) in enumerate(layer_shapes(path, batch, *size).items()):
        for name in passes:
            total += (count - (i == 0 and name == "grad_x")) * floor(a, name, precision, ceiling)
    return total


def ceiling_of(device):
    """The Ceiling of a device by its name, or None where none was measured."""
    return next((ceiling for name, ceiling in CEILINGS.items() if name in device), None)

"""Layers of a network become recorded CUDA calls: maps in NHWC, and the steps that make them.

A concatenation is written in place: its sources live in slices of its memory. A shortcut behind a
convolution is that convolution's residual. Of several max pools over one map, the larger take
their windows from the smaller: 9 = 5 of 5, 13 = 5 of 5 of 5.
"""

from dataclasses import dataclass, field

import torch

from ..ops.cuda import ACTIVATION_NUMBERS, choose
from ..ops.cuda.layout import ALIGNED, nhwc
from ..ops.cuda.structs import SPP_LARGEST
from ..ops.shapes import conv_shape, pool_shape
from .graph import Unsupported


@dataclass(eq=False)
class Map:
    """(c, h, w) of every image; in memory of its own, or from channel `first` of `home` on."""

    c: int
    h: int
    w: int
    home: "Map | None" = None
    first: int = 0

    def root(self):
        """The map that owns the memory, and the channel in it where this one begins."""
        owner, first = self, 0
        while owner.home is not None:
            owner, first = owner.home, first + owner.first
        return owner, first

    @property
    def pitch(self):
        return -(-self.root()[0].c // ALIGNED) * ALIGNED

    def view(self, arena, offsets, batch):
        """The tensor (n, c, h, w) in the arena (elements), as strides of NHWC."""
        root, first = self.root()
        shape = batch, self.c, self.h, self.w
        return arena.as_strided(shape, nhwc(shape, self.pitch), offsets[root] + first)


@dataclass
class Step:
    """emit(kernels, output tensor, *input tensors) records it; the rest is for tables."""

    layer: int
    kernel: str
    inputs: list
    output: Map
    emit: object


@dataclass
class Lowering:
    """What is known while the layers are gone through."""

    net: object
    batch: int
    dtype: torch.dtype
    precision: str
    kernels: object
    steps: list = field(default_factory=list)
    maps: dict = field(default_factory=dict)  # layer -> Map

    def __post_init__(self):
        self.layers = self.net.layers
        self.maps[-1] = Map(*self.net.input_shape)
        self.readers = {layer.index: [] for layer in self.layers} | {-1: []}
        for layer in self.layers:
            for source in layer.sources:
                self.readers[source].append(layer.index)
        self.residuals = {}  # convolution -> the shortcut that it computes too
        self.pools = {}  # map -> [(size, its pooled map)]

    def run(self):
        for layer in self.layers:
            lower = LOWER.get(type(layer).__name__)
            if lower is None or layer.regions is not None:
                raise Unsupported(f"layer {layer.index} [{layer.section.name}] has no CUDA step")
            lower(self, layer)

    def add(self, layer, kernel, inputs, output, emit):
        self.steps.append(Step(layer.index, kernel, inputs, output, emit))
        self.maps[layer.index] = output
        return output

    def inputs(self, layer):
        return [self.maps[source] for source in layer.sources]


def _convolutional(low, layer):
    (source,) = low.inputs(layer)
    if layer.batch_normalize:
        raise Unsupported(f"layer {layer.index} has batch normalisation that is not folded")
    if layer.activation not in ACTIVATION_NUMBERS:
        raise Unsupported(f"layer {layer.index} has activation {layer.activation}")
    like = torch.empty((low.batch, source.c, source.h, source.w), device="meta")
    geometry = layer.stride, layer.pad_cells, layer.dilation, layer.groups
    a = conv_shape(like, layer.weight.to("meta", torch.float32), None, *geometry)
    algorithm = choose(a, low.dtype, low.precision)
    weight, bias = _weights(layer, algorithm, low.dtype), layer.bias.detach().float()
    fuses = algorithm in ("implicit", "stem")
    residual = _residual(low, layer) if fuses else None
    inputs = [source] if residual is None else [source, residual[1]]
    splits = low.kernels.implicit_splits(a, low.dtype) if algorithm == "implicit" else 1

    def emit(kernels, y, x, added=None):
        run = getattr(kernels, f"{algorithm}_forward")
        if algorithm == "im2col":
            run(a, x, weight, None, out=y)
            kernels.norm_act_forward(y, bias=bias, activation=layer.activation, out=y)
            return
        more = {} if algorithm == "depthwise" else {"residual": added, "splits": splits}
        run(a, x, weight, bias, activation=layer.activation, out=y, **more)

    name = algorithm if splits == 1 else f"{algorithm}, {splits} splits"
    y = low.add(layer, name, inputs, Map(*layer.out_shape), emit)
    if residual is not None:
        low.residuals[residual[0]] = y


def _weights(layer, algorithm, dtype):
    """Weights as the kernel reads them, so that recording copies nothing."""
    weight = layer.weight.detach().to(dtype)
    if algorithm == "im2col":
        return weight.contiguous()
    if algorithm == "depthwise":
        return weight[:, 0].permute(1, 2, 0).contiguous().permute(2, 0, 1).unsqueeze(1)
    return weight.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def _plain(layer):
    return type(layer).__name__ == "Shortcut" and layer.weight is None


def _residual(low, layer):
    """(shortcut, its other source) where the convolution can add that itself."""
    readers = low.readers[layer.index]
    shortcut = low.layers[readers[0]] if len(readers) == 1 else None
    if shortcut is None or not _plain(shortcut) or layer.index in low.net.heads:
        return None
    others = [source for source in shortcut.sources if source != layer.index]
    alone = len(shortcut.sources) == 2 and len(others) == 1 and shortcut.activation == "linear"
    if not alone or others[0] not in low.maps:
        return None
    other = low.maps[others[0]]
    same = (other.c, other.h, other.w) == layer.out_shape
    return (shortcut.index, other) if same else None


def _shortcut(low, layer):
    if layer.index in low.residuals:
        low.maps[layer.index] = low.residuals[layer.index]
        return
    inputs = low.inputs(layer)
    alike = len({(m.c, m.h, m.w) for m in inputs}) == 1
    if not _plain(layer) or not alike or len(inputs) != 2 or layer.activation != "linear":
        raise Unsupported(f"layer {layer.index} [shortcut] has weights, an activation, or sizes")

    def emit(kernels, y, x, other):
        kernels.norm_act_forward(x, residual=other, out=y)

    low.add(layer, "add", inputs, Map(*layer.out_shape), emit)


def _route(low, layer):
    inputs = low.inputs(layer)
    if layer.groups > 1:
        inputs = [_slice(m, m.c // layer.groups, layer.group_id) for m in inputs]
    if len(inputs) == 1:
        low.maps[layer.index] = inputs[0]
        return
    y, first = Map(*layer.out_shape), 0
    made = {id(step.output) for step in low.steps}
    for source in inputs:
        if source.home is None and id(source) in made and source is not y:
            source.home, source.first = y, first
        else:
            part = Map(source.c, source.h, source.w, y, first)
            low.add(layer, "copy", [source], part, _copy)
        first += source.c
    low.maps[layer.index] = y


def _slice(source, channels, number):
    return Map(channels, source.h, source.w, source, number * channels)


def _copy(kernels, y, x):
    kernels.norm_act_forward(x, out=y)


def _maxpool(low, layer):
    if layer.maxpool_depth:
        raise Unsupported(f"layer {layer.index} [maxpool] works over channels")
    (source,) = low.inputs(layer)
    size, padding, kernel = layer.size, layer.padding, "maxpool"
    cascades = layer.stride == (1, 1) and size % 2 == 1 and padding == size - 1
    if cascades:
        smaller = [(s, m) for s, m in low.pools.get(source, []) if s < size]
        first = source
        if smaller:
            known, source = max(smaller, key=lambda pair: pair[0])
            size = size - known + 1
            padding, kernel = size - 1, f"maxpool {size} of {known}"
    like = torch.empty((low.batch, source.c, source.h, source.w), device="meta")
    a = pool_shape(like, size, layer.stride, padding)

    def emit(kernels, y, x):
        if cascades and size <= SPP_LARGEST:
            kernels.spp_forward(x, (size,), [y], with_codes=False)
        else:
            kernels.maxpool_forward(a, x, out=y, with_index=False)

    y = low.add(layer, kernel, [source], Map(*layer.out_shape), emit)
    if cascades:
        low.pools.setdefault(first, []).append((layer.size, y))


def _upsample(low, layer):
    if layer.stride < 1:
        raise Unsupported(f"layer {layer.index} [upsample] shrinks")

    def emit(kernels, y, x):
        kernels.upsample_forward(x, layer.stride, layer.scale, out=y)

    low.add(layer, "upsample", low.inputs(layer), Map(*layer.out_shape), emit)


def _avgpool(low, layer):
    low.add(
        layer, "avgpool", low.inputs(layer), Map(*layer.out_shape),
        lambda kernels, y, x: kernels.avgpool_forward(x, out=y),
    )  # fmt: skip


def _activation(low, layer):
    if layer.activation not in ACTIVATION_NUMBERS:
        raise Unsupported(f"layer {layer.index} has activation {layer.activation}")
    low.add(
        layer, "activation", low.inputs(layer), Map(*layer.out_shape),
        lambda kernels, y, x: kernels.norm_act_forward(x, activation=layer.activation, out=y),
    )  # fmt: skip


def _prelu(low, layer):
    slope = layer.slope.detach().float().contiguous()
    low.add(
        layer, "prelu", low.inputs(layer), Map(*layer.out_shape),
        lambda kernels, y, x: kernels.prelu_forward(x, slope, out=y),
    )  # fmt: skip


def _dropout(low, layer):
    """In evaluation the output is the input."""
    (low.maps[layer.index],) = low.inputs(layer)


def _head(low, layer):
    """The plan calls the layer itself, at the end, on what it reads."""
    if low.readers[layer.index]:
        raise Unsupported(f"layer {layer.index} [{layer.section.name}] is read by another layer")
    (low.maps[layer.index],) = low.inputs(layer)


def finishes(layer):
    """Whether this layer is one that the plan itself does not compute."""
    return LOWER[type(layer).__name__] is _head


LOWER = {
    "Convolutional": _convolutional,
    "Shortcut": _shortcut,
    "Route": _route,
    "Maxpool": _maxpool,
    "Upsample": _upsample,
    "Avgpool": _avgpool,
    "Activation": _activation,
    "Prelu": _prelu,
    "Dropout": _dropout,
    "Yolo": _head,
    "GaussianYolo": _head,
    "Region": _head,
    "Softmax": _head,
    "Cost": _head,
}

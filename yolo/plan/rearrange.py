"""Layers that choose or move values become steps: pools, enlargements, routes."""

from .graph import Unsupported, Value


def lower_maxpool(low, layer):
    if layer.maxpool_depth:
        raise Unsupported("pools over channels")
    x = low.source(layer)
    out = Value(list(x.channels), x.blocks, *layer.out_shape[1:])
    size, before = (layer.size,) * 2, (layer.padding // 2,) * 2

    def emit(plan):
        plan.max_pool(x.slice(), out.slice(), size, layer.stride, before)

    low.graph.values[layer.index] = low.graph.add(layer.index, "max_pool", "", [x], out, emit)


def lower_avgpool(low, layer):
    x = low.source(layer)
    out = Value(list(x.channels), x.blocks, 1, 1)

    def emit(plan):
        plan.average_pool(x.slice(), out.slice())

    low.graph.values[layer.index] = low.graph.add(layer.index, "average_pool", "", [x], out, emit)


def lower_upsample(low, layer):
    if layer.stride < 0:
        raise Unsupported("has a negative stride")
    x = low.source(layer)
    out = Value(list(x.channels), x.blocks, *layer.out_shape[1:])

    def emit(plan):
        plan.copy(x.slice(), out.slice(), [], layer.stride, layer.scale)

    low.graph.values[layer.index] = low.graph.add(layer.index, "copy", "enlarges", [x], out, emit)


def lower_route(low, layer):
    parts = [_group(low, layer, low.source(layer, i)) for i in range(len(layer.sources))]
    if len(parts) == 1:
        low.graph.values[layer.index] = parts[0]
        return
    out = Value([], 0, *layer.out_shape[1:])
    for part in parts:
        if part.home is not None:
            part = low.graph.copied(layer.index, part, "already lies in another concatenation")
        part.home, part.first = out, out.blocks
        out.border = max(out.border, part.border)
        out.channels += [out.blocks * low.graph.lanes + c for c in part.channels]
        out.blocks += part.blocks
    low.graph.values[layer.index] = out


def _group(low, layer, value):
    """The part of a source's channels that a route with groups takes."""
    if layer.groups == 1:
        return value
    lanes, size = low.graph.lanes, len(value.channels) // layer.groups
    begin = layer.group_id * size
    channels = value.channels[begin : begin + size]
    low_block = channels[0] // lanes
    if channels[0] % lanes == 0 and channels == list(range(channels[0], channels[0] + size)):
        blocks = channels[-1] // lanes - low_block + 1
        shifted = [c - low_block * lanes for c in channels]
        return Value(shifted, blocks, value.height, value.width, value, low_block)
    out = low.graph.new(size, value.height, value.width)
    order = channels + [-1] * (out.blocks * lanes - size)

    def emit(plan):
        plan.copy(value.slice(), out.slice(), order, 1, 1.0)

    why = "a group that begins inside a block"
    return low.graph.add(layer.index, "copy", why, [value], out, emit)

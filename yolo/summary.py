"""Network -> Darknet's table of layers, with totals: operations, parameters, memory, reach."""

from math import prod

FLOAT = 4  # bytes
HEADS = ("input w x h x c", "output w x h x c", "BFLOPs", "field")


def as_dict(net):
    """Everything that the table says, for JSON."""
    layers = [_row(layer, field) for layer, field in zip(net.layers, _fields(net), strict=True)]
    return {
        "cfg": str(net.cfg_path),
        "input": list(net.input_shape),
        "batch": net.options.batch,
        "subdivisions": net.options.subdivisions,
        "mini_batch": net.options.mini_batch,
        "layers": layers,
        "bflops": sum(layer["bflops"] for layer in layers),
        "parameters": sum(layer["parameters"] for layer in layers),
        "weights_bytes": 20 + FLOAT * sum(layer["stored"] for layer in layers),
        "training_bytes": training_bytes(net),
        "receptive_field": max(layers[index]["receptive_field"] for index in net.heads),
    }


def _row(layer, field):
    filters, size = layer.describe()
    return {
        "index": layer.index,
        "type": layer.section.name,
        "line": layer.section.line,
        "sources": list(layer.sources),
        "filters": filters,
        "size": size,
        "input": list(layer.in_shapes[0]),
        "output": list(layer.out_shape),
        "rows": layer.rows,
        "bflops": layer.rows * layer.flops() / 1e9,
        "parameters": sum(p.numel() for p in layer.parameters()),
        "stored": sum(tensor.numel() for tensor in layer.stored()),
        "receptive_field": field,
    }


def _fields(net):
    """Side, in pixels of the input, of what one output cell of each layer depends on."""
    reach = {-1: (1, 1)}  # layer -> (side, distance between neighbouring cells)
    for layer in net.layers:
        side = max(reach[source][0] for source in layer.sources)
        step = max(reach[source][1] for source in layer.sources)
        size, stride = layer.window()
        reach[layer.index] = side + (size - 1) * step, step * stride
    return [round(reach[layer.index][0]) for layer in net.layers]


def training_bytes(net):
    """Estimate for one mini-batch: parameters with gradient and momentum, what the backward pass
    needs of each layer, and the gradients in flight between the two largest layers."""
    parameters = 3 * sum(p.numel() for p in net.parameters())
    parameters += sum(b.numel() for b in net.buffers())
    largest = max(layer.trained_rows * prod(layer.out_shape) for layer in net.layers)
    saved = sum(layer.trained_rows * layer.saved() for layer in net.layers)
    image = prod(net.input_shape) + saved + 2 * largest
    return FLOAT * (parameters + net.options.mini_batch * image)


def table(net):
    """The text that Darknet prints while loading, and the totals."""
    content = as_dict(net)
    lines = [_columns("", "layer", "filters", "size/strd(dil)", *HEADS)]
    lines += [_line(row) for row in content["layers"]]
    return "\n".join(lines + [""] + _totals(content))


def _line(row):
    flops = f"{row['bflops']:.3f}" if row["bflops"] else ""
    sizes = _sizes(row["input"]), _sizes(row["output"])
    names = row["index"], row["type"], row["filters"], row["size"]
    many = f"  x {row['rows']} regions" if row["rows"] > 1 else ""
    return _columns(*names, *sizes, flops, row["receptive_field"]) + many


def _columns(index, name, filters, size, before, after, flops, field):
    left = f"{index:>4} {name:16} {filters:>11}  {size:>19}"
    return f"{left}  {before:>18} -> {after:>18} {flops:>8} {field:>6}"


def _sizes(shape):
    """(C, H, W) as Darknet prints it: width, height, channels."""
    channels, height, width = shape
    return f"{width:4} x {height:4} x {channels:4}"


def _totals(content):
    batch = f"batch {content['batch']} / subdivisions {content['subdivisions']}"
    return [
        f"Total BFLOPS {content['bflops']:.3f}",
        f"parameters {content['parameters']:,}",
        f"weights file {content['weights_bytes']:,} bytes",
        f"memory for training, about {content['training_bytes'] / 2**20:,.1f} MiB "
        f"({batch} = {content['mini_batch']} images at once)",
        f"receptive field {content['receptive_field']} pixels, input "
        f"{content['input'][2]} x {content['input'][1]}",
    ]

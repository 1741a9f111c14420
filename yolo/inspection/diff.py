"""diff(a, b) -> lines: what two .cfg files mean differently, defaults filled in.

Layers are aligned by kind and size, so that an inserted layer does not make all later ones differ;
the layers that a [route] or [shortcut] names are compared by where they stand in the alignment.
"""

from dataclasses import asdict
from difflib import SequenceMatcher

from ..cfg import read
from ..network import Network

# Keys whose meaning lies in what the layer made of them
RESOLVED = ("pad", "padding", "stride", "stride_x", "stride_y", "layers", "from")
SIZES = ("filters", "size", "stride", "output", "groups", "classes")


def diff(a, b):
    """One line for each difference; none where both describe the same network and training."""
    first, second = Network(read(a)), Network(read(b))
    lines = _options(first.options, second.options)
    pairs, alone, new = _align(first.layers, second.layers)
    where = dict(pairs) | {-1: -1}
    for i, j in pairs:
        lines += _pair(first.layers[i], second.layers[j], where)
    lines += [f"- {_title(first.layers[i])}" for i in alone]
    lines += [f"+ {_title(second.layers[j])}" for j in new]
    return lines + _totals(first, second) if lines else []


def _options(a, b):
    a, b = asdict(a), asdict(b)
    changed = [f"  {key}: {a[key]} -> {b[key]}" for key in a if a[key] != b[key]]
    return ["[net]", *changed] if changed else []


def _align(a, b):
    """(pairs of indices, indices of a alone, indices of b alone)."""
    pairs, alone, new = [], [], []
    for tag, i, i_end, j, j_end in _blocks(list(map(_token, a)), list(map(_token, b))):
        if tag == "equal":
            pairs += zip(range(i, i_end), range(j, j_end), strict=True)
            continue
        kinds = [type(layer) for layer in a[i:i_end]], [type(layer) for layer in b[j:j_end]]
        for kind, p, p_end, q, q_end in _blocks(*kinds):
            if kind == "equal":
                pairs += zip(range(i + p, i + p_end), range(j + q, j + q_end), strict=True)
            else:
                alone += range(i + p, i + p_end)
                new += range(j + q, j + q_end)
    return pairs, alone, new


def _blocks(a, b):
    return SequenceMatcher(None, a, b, autojunk=False).get_opcodes()


def _token(layer):
    return type(layer), *(repr(getattr(layer, name, None)) for name in SIZES)


def _pair(a, b, where):
    before, after = _meaning(a), _meaning(b)
    changed = [
        f"  {key}: {before.get(key)} -> {after.get(key)}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]
    if [where.get(source) for source in a.sources] != list(b.sources):
        changed.append(f"  reads layers {_numbers(a.sources)} -> {_numbers(b.sources)}")
    return [f"{_title(a)} -> {_place(b)}", *changed] if changed else []


def _meaning(layer):
    """Every key with its value, as the layer understood it."""
    values = {k: v for k, v in layer.section.values.items() if k not in RESOLVED}
    values |= {k: getattr(layer, k) for k in ("stride", "padding", "pad") if hasattr(layer, k)}
    return values


def _title(layer):
    return f"layer {layer.index} [{layer.section.name}] {_place(layer)}"


def _place(layer):
    return f"{layer.section.path}:{layer.section.line}"


def _numbers(sources):
    return ", ".join(map(str, sources))


def _totals(a, b):
    lines = []
    for net in (a, b):
        parameters = sum(p.numel() for p in net.parameters())
        gflop = sum(layer.flops() for layer in net.layers) / 1e9
        lines.append(
            f"{net.cfg_path}: {len(net.layers)} layers, {parameters:,} parameters, "
            f"{gflop:.2f} GFLOP"
        )
    return lines

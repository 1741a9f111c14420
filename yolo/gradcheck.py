"""Numerical against computed gradients, layer by layer, in float64.

For a tensor t of a layer with output y, a random direction v and random weights g of the outputs:

    numerical   sum of g * (y(t + h v) - y(t - h v)) / 2h
    ours        sum of v * dL/dt,  what backward gives for dL/dy = g

Both are the derivative of L = sum of g * y along v. Every element of the gradient takes part, at
the cost of two forward passes. Where an element crosses a kink of leaky, relu or maxpool on the
way, the difference is wrong, not the gradient: so a tensor is tried along up to three directions,
and one that agrees is enough, since a wrong gradient agrees along a random one by chance only.
"""

import math
from dataclasses import asdict, dataclass

import torch

STEP = 1e-7  # small: few elements cross a kink on the way
DIRECTIONS = 3
TOLERANCE = 1e-4
IMAGES, SIDE = 4, 64

# Gradient factors that Darknet takes from elsewhere than the derivative, and this package with it.
DEPARTING_ACTIVATIONS = {
    "gelu": "its factor is evaluated at the output",
    "normalize_channels": "its factor leaves out the sum over the channels",
    "normalize_channels_softmax": "its factor leaves out the sum over the channels",
    "normalize_channels_softmax_maxval": "its factor leaves out the sum over the channels",
    "hardtan": "its factor is 0 at the output's ends",
}


@dataclass
class Row:
    """One tensor of one layer."""

    layer: int
    section: str
    tensor: str  # "input 0", "weight", ...
    numerical: float
    ours: float
    error: float  # |numerical - ours| over the size that such a sum has
    passed: bool
    note: str = ""  # why it may differ, or was not compared


def check_network(net, layers=None, images=IMAGES, seed=0):
    """[Row]: each input and parameter of each layer (or of those whose numbers `layers` has).

    The network's parameters are taken as they are, its inputs drawn at random; a copy in float64
    is checked in training mode.
    """
    wanted = range(len(net.layers)) if layers is None else layers
    rows = []
    for index in wanted:
        rows += check_layer(net.layers[index], images, seed + index)
    return rows


def check_layer(layer, images=IMAGES, seed=0):
    """[Row] of one layer."""
    name = layer.section.name
    if hasattr(layer, "loss"):
        return [note_only(layer, "a head: its gradient is the delta of its loss")]
    layer = layer.double().train()
    generator = torch.Generator().manual_seed(seed)
    inputs = [
        torch.randn(images, *shape, generator=generator, dtype=torch.float64)
        for shape in layer.in_shapes
    ]
    named = {
        f"input {i}": x.requires_grad_()
        for i, x in enumerate(inputs)
        if i not in layer.constant_inputs
    }
    named |= {n: p for n, p in layer.named_parameters() if p.requires_grad}

    def forward():
        torch.manual_seed(seed)  # [dropout] draws the same elements each time
        return layer(*inputs)

    y = forward()
    if not y.requires_grad:
        return [note_only(layer, "hands no gradient on")]
    towards = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(y, list(named.values()), towards, allow_unused=True)
    rows = []
    for (tensor, value), gradient in zip(named.items(), gradients, strict=True):
        if gradient is None:
            gradient = torch.zeros_like(value)
        for _ in range(DIRECTIONS):
            direction = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            numerical = slope(forward, value, direction, towards)
            ours = float((gradient * direction).sum())
            error = abs(numerical - ours) / max(float(gradient.norm()), abs(numerical), 1e-12)
            passed = error <= TOLERANCE
            if passed:
                break
        why = "" if passed else departure(layer, tensor)
        rows.append(Row(layer.index, name, tensor, numerical, ours, error, passed, why))
    return rows


def departure(layer, tensor):
    """Why Darknet's gradient of this tensor is not the derivative; empty where it should be."""
    if layer.section.name == "shortcut" and tensor == "weight" and layer.normalization != "none":
        return "the gradient of normalised weights is that of the factors"
    return DEPARTING_ACTIVATIONS.get(getattr(layer, "activation", None), "")


@torch.no_grad()
def slope(forward, value, direction, towards):
    """Central difference of sum(towards * y) as `value` moves along `direction`."""
    start = value.detach().clone()
    value.copy_(start + STEP * direction)
    above = forward().clone()  # [route] of one layer returns its input itself
    value.copy_(start - STEP * direction)
    below = forward().clone()
    value.copy_(start)
    return float((towards * (above - below)).sum() / (2 * STEP))


def note_only(layer, note):
    return Row(layer.index, layer.section.name, "-", math.nan, math.nan, math.nan, True, note)


def failures(rows):
    """Those whose difference nothing explains."""
    return [row for row in rows if not row.passed and not row.note]


def report(rows):
    """The table that is printed."""
    lines = [f"{'layer':<24}{'tensor':<14}{'numerical':>16}{'ours':>16}{'error':>10}"]
    for r in rows:
        place = f"{r.layer:4d} {r.section}"
        if r.tensor == "-":
            lines.append(f"{place:<24}{r.note}")
            continue
        verdict = "" if r.passed else f"  as Darknet: {r.note}" if r.note else "  DIFFERS"
        numbers = f"{r.numerical:>16.8g}{r.ours:>16.8g}{r.error:>10.1e}"
        lines.append(f"{place:<24}{r.tensor:<14}{numbers}{verdict}")
    compared = [r for r in rows if r.tensor != "-"]
    failed = len(failures(rows))
    lines.append(f"{len(compared)} gradients compared, {failed} differ by more than {TOLERANCE:g}")
    return "\n".join(lines)


def as_dicts(rows):
    """For JSON: numbers that were not compared are null."""
    return [{k: None if v != v else v for k, v in asdict(row).items()} for row in rows]

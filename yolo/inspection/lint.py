"""lint(path) -> [Finding]: what is wrong with a .cfg file, or will not do what it seems to say.

Errors keep the network from being built; a layer with an error lets its input through, so that
the layers after it are looked at too. Warnings are about networks that build but hardly mean it;
notes about keys without effect.
"""

import warnings
from dataclasses import dataclass

from ..cfg import CfgError, Section, read
from ..layers import Place
from ..layers.empty import Empty
from ..layers.head import AnchorHead
from ..layers.layer import times
from ..network import check_input, layer_class
from ..options import NetOptions
from .heads import check_heads

ERROR, WARNING, NOTE = "error", "warning", "note"
# Keys of [net] that count under some policies alone
OF_POLICY = {
    "steps": ("steps", "sgdr"), "scales": ("steps", "sgdr"), "step": ("step", "sigmoid"),
    "scale": ("step",), "gamma": ("exp", "sigmoid"), "learning_rate_min": ("sgdr",),
    "sgdr_cycle": ("sgdr",), "sgdr_mult": ("sgdr",),
}  # fmt: skip
OF_ADAM = ("B1", "B2", "eps")


@dataclass(order=True)
class Finding:
    """One thing to say, at a line of the file."""

    line: int
    kind: str
    text: str  # begins with the section

    def show(self, path):
        """The line that a compiler would print."""
        return f"{path}:{self.line}: {self.kind}: {self.text}"


class Findings(list):
    """What was found so far."""

    def add(self, kind, section, text, key=None):
        self.append(Finding(section.line_of(key), kind, f"[{section.name}] {text}"))

    def take(self, kind, message, path):
        """A message that begins with file:line."""
        line, colon, text = str(message).removeprefix(f"{path}:").partition(": ")
        if colon:
            self.append(Finding(int(line), kind, text))
        else:  # about the file as a whole
            self.append(Finding(1, kind, line.strip()))


def lint(path):
    """Findings in a .cfg file, by line."""
    found = Findings()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            sections = read(path)
            options = NetOptions.read(sections[0])
            check_input(sections[0], options)
        except CfgError as error:
            found.take(ERROR, error, path)
        else:
            layers = _build(sections[1:], options, found, path)
            _check_net(sections[0], options, found)
            _check_size(sections[0], layers, found)
            _check_unread(layers, found)
            check_heads(layers, found)
    for warning in said:
        found.take(WARNING, warning.message, path)
    return sorted(found)


def _build(sections, options, found, path):
    """The layers; those that cannot be built pass their input on."""
    place = Place(options, {-1: options.input_shape})
    for section in sections:
        try:
            layer = layer_class(section)(section, place)
            section.warn_unknown()
        except CfgError as error:
            found.take(ERROR, error, path)
            layer = Empty(Section(section.name, section.line, section.source), place)
        try:
            place.add(layer)
        except CfgError as error:
            found.take(ERROR, error, path)
            break
        _check_keys(layer, section, found)
    return place.layers


def _check_keys(layer, section, found):
    """Keys that are read and do nothing here."""
    given = dict(section.items())
    for key in given:
        if section.notes.get(key) == "no effect" and given[key] != "0":
            found.add(NOTE, section, f"{key} has no effect", key)
    if given.get("pad", "0") != "0" and "padding" in given and section.name.startswith("conv"):
        found.add(NOTE, section, "padding has no effect beside pad", "padding")
    if {"stride", "stride_x", "stride_y"} <= set(given):
        found.add(NOTE, section, "stride has no effect beside stride_x and stride_y", "stride")


def _check_net(section, options, found):
    given = dict(section.items())
    for key, policies in OF_POLICY.items():
        if key in given and options.policy not in policies:
            text = f"{key} has no effect with policy={options.policy}"
            found.add(NOTE, section, text, key)
    if "power" in given and options.policy not in ("poly", "random") and not options.burn_in:
        found.add(NOTE, section, "power has no effect without burn_in", "power")
    for key in OF_ADAM:
        if key in given and not options.adam:
            found.add(NOTE, section, f"{key} has no effect without adam=1", key)
    if not options.max_batches:
        found.add(NOTE, section, "max_batches is not set: training would end at once")
        return
    late = [step for step in options.steps if step >= options.max_batches]
    if late and options.policy in OF_POLICY["steps"]:
        text = f"steps: {late[0]} is never reached, max_batches being {options.max_batches}"
        found.add(WARNING, section, text, "steps")
    if options.burn_in >= options.max_batches:
        text = f"burn_in={options.burn_in} lasts longer than max_batches={options.max_batches}"
        found.add(WARNING, section, text, "burn_in")


def _check_size(section, layers, found):
    """Each grid of a head should divide the image evenly."""
    heads = [layer for layer in layers if isinstance(layer, AnchorHead)]
    if not heads:
        return
    reach = {-1: 1}  # layer -> pixels of the image between neighbouring cells
    for layer in layers:
        reach[layer.index] = max(reach[s] for s in layer.sources) * layer.window()[1]
    stride = round(max(reach[layer.index] for layer in layers))
    _, height, width = layers[0].in_shapes[0]
    for key, side in (("width", width), ("height", height)):
        if side % stride:
            text = f"{key}={side} is no multiple of {stride}, the stride of the deepest layer"
            found.add(WARNING, section, text, key)


def _check_unread(layers, found):
    """Layers whose output goes nowhere."""
    read = {source for layer in layers for source in layer.sources}
    for layer in layers[:-1]:
        replaced = isinstance(layer, Empty)  # what stands for a layer with an error is one
        wanted = layer.index in read or layer.is_output or hasattr(layer, "loss")
        if not wanted and not replaced:
            text = f"layer {layer.index} ({times(layer.out_shape)}) is read by no other layer"
            found.add(WARNING, layer.section, text)

"""Activation checkpointing: a network in stretches of layers whose inner outputs are not kept.

Backward runs the layers of a stretch forward once more, from what the stretch read, when it needs
what lies inside (Chen et al., 2016: about 2 sqrt(n) of n outputs are kept, a third more is
computed). Heads and layers with a state stay outside; rolling statistics move once.
"""

from contextlib import ExitStack, contextmanager, nullcontext
from math import sqrt

from torch.utils.checkpoint import checkpoint

from .ops import Unwritten, layout, precision, rolling_pair, statistics

SWITCHES = (layout, precision, statistics)  # what holds in forward, for the thread of backward


def stretches(layers):
    """[(layers, whether they are run again)]: as many stretches as the square root of the number
    of layers, of about as many elements each."""
    share = sum(layer.saved() for layer in layers) / max(1, round(sqrt(len(layers))))
    found, held, elements = [], [], 0
    for layer in layers:
        if hasattr(layer, "loss") or hasattr(layer, "reset"):
            found += [(held, True), ([layer], False)]
            held, elements = [], 0
            continue
        held.append(layer)
        elements += layer.saved()
        if elements >= share:
            found.append((held, True))
            held, elements = [], 0
    return [(part, again) for part, again in (*found, (held, True)) if part]


def run_again(advance, layers, outputs):
    """advance(outputs) of a stretch of layers, which backward calls a second time."""
    read = {source for layer in layers for source in layer.sources}
    given = {source: y for source, y in outputs.items() if source in read}

    def run(given):
        inside = dict(given)
        advance(inside)
        # who reads it may be run again: nothing is left to be written there
        return {i: y.planar() if isinstance(y, Unwritten) else y for i, y in inside.items()}

    left = checkpoint(run, given, use_reentrant=False, context_fn=_contexts)
    for source in given.keys() - left.keys():
        del outputs[source]
    outputs.update(left)


def _contexts():
    """(of the first run, of the second)"""
    return nullcontext(), _second([switch.current for switch in SWITCHES])


@contextmanager
def _second(names):
    with ExitStack() as stack:
        for switch, name in zip(SWITCHES, names, strict=True):
            stack.enter_context(switch(name))
        stack.enter_context(rolling_pair("stays"))
        yield

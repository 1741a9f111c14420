"""A loss or gradient that is not finite: where it began, and the batch that did it, as evidence."""

import json

import torch
from safetensors.torch import save_file

from .. import ranks
from ..files import staged
from ..ops import statistics

NOWHERE = "every layer's output is finite, the loss is not"


def gradients_finite(net):
    """True when no gradient holds NaN or infinity (one norm over all of them)."""
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    if not grads:
        return True
    return bool(torch.stack(torch._foreach_norm(grads)).isfinite().all())


def first_non_finite(net, x):
    """Names the first layer whose output or parameter is not finite."""
    for layer in net.layers:
        for name, parameter in layer.named_parameters():
            if not parameter.isfinite().all():
                return f"first in {name} of layer {layer.index} [{layer.section.name}]"
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                return (
                    f"first in the gradient of {name}, layer {layer.index} [{layer.section.name}]"
                )
    with torch.no_grad(), statistics("own"):
        for layer, output in zip(net.layers, net.outputs(x), strict=True):
            if not output.isfinite().all():
                return f"first in the output of layer {layer.index} [{layer.section.name}]"
    return NOWHERE


class NotFinite(Exception):
    """A mini-batch whose loss or gradient (`what`) is not finite, and where that began; `batch` is
    None on a rank that did not meet it."""

    def __init__(self, what, where, batch, paths=None):
        super().__init__(what)
        self.what, self.where, self.batch = what, where, batch
        self.paths = [str(path) for path in batch.paths] if paths is None else paths

    @classmethod
    def agreed(cls, own):
        """What all ranks raise: that of the first rank in whose layers it began, as shared
        statistics carry it from one to the others. own: this rank's, or None."""
        if ranks.count() == 1:
            return own
        found = ranks.everyone(own and [own.what, own.where, own.paths])
        met = [rank for rank, each in enumerate(found) if each]
        rank = min(met, key=lambda rank: (found[rank][1] == NOWHERE, rank))
        if rank == ranks.number():
            return own
        what, where, paths = found[rank]
        return cls(what, where, None, paths)

    def describe(self, iteration, rate):
        """A sentence with the iteration, the layer, the rate and the images."""
        shown = ", ".join(self.paths[:8]) + (" ..." if len(self.paths) > 8 else "")
        return (
            f"iteration {iteration}: the {self.what} is not finite ({self.where}; rate {rate:g}; "
            f"images: {shown})."
        )


def save_evidence(path, batch, text):
    """Writes the mini-batch: tensors `images` and `truth`; in the metadata the text and the paths
    of the images (a JSON list)."""
    tensors = {"images": batch.images.cpu().contiguous(), "truth": batch.truth.cpu().contiguous()}
    paths = json.dumps([str(path) for path in batch.paths])
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged(path) as temporary:
        save_file(tensors, temporary, {"text": text, "paths": paths})

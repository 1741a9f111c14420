"""safetensors file <-> Network: tensors by the names of state_dict(), `layers.0.weight` and so on.

The count of images seen and the version of the .weights header stand in the file's metadata, so
that a .weights file comes out again byte for byte.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from ..files import replacing
from .darknet import VERSION, WeightsError, refuse_fused, refuse_page

SUFFIX = ".safetensors"
PICKLES = (".pt", ".pth", ".ckpt", ".pkl")
SHOWN = 8  # names in a message


@dataclass
class Report:
    """What becomes of the tensors of a file, by name."""

    fitting: list = field(default_factory=list)
    missing: list = field(default_factory=list)  # the network has them, the file has not
    unknown: list = field(default_factory=list)  # the other way around
    misfit: list = field(default_factory=list)  # `name (shape of the file) -> (the network's)`

    @property
    def complete(self):
        return not (self.missing or self.unknown or self.misfit)

    def problems(self):
        """One line for each kind of tensor that is not loaded."""
        kinds = {
            "not in the file": self.missing,
            "not in the network": self.unknown,
            "of another shape": self.misfit,
        }
        return [f"{what}: {_shortened(names)}" for what, names in kinds.items() if names]

    def __str__(self):
        total = len(self.fitting) + len(self.missing) + len(self.misfit)
        return "\n".join([f"{len(self.fitting)} of {total} tensors loaded", *self.problems()])


def _shortened(names):
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def compare(net, values):
    """Report on tensors, {name: tensor}, beside those of a network."""
    own = net.state_dict()
    report = Report(unknown=[name for name in values if name not in own])
    for name, tensor in own.items():
        if name not in values:
            report.missing.append(name)
        elif values[name].shape != tensor.shape:
            before, after = tuple(values[name].shape), tuple(tensor.shape)
            report.misfit.append(f"{name} {before} -> {after}")
        else:
            report.fitting.append(name)
    return report


def load(net, path, partial=False):
    """Fills a network from a file, by name. partial: with what fits, as the Report says."""
    refuse_fused(net, "be loaded into")
    values, metadata = read(path)
    report = compare(net, values)
    if not report.complete and not partial:
        problems = "; ".join(report.problems())
        raise WeightsError(f"{path}: does not belong to {net.cfg_path}: {problems}")
    own = net.state_dict()
    with torch.no_grad():
        for name in report.fitting:
            own[name].copy_(values[name])
    net.seen = int(metadata.get("seen", 0)) if report.complete else 0
    net.iteration = net.seen // net.options.effective_batch
    return report


def read(path):
    """({name: tensor}, metadata) of a file."""
    path = Path(path)
    with path.open("rb") as file:
        refuse_page(file.read(64), path)
    try:
        with safe_open(path, "pt") as file:
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return values, file.metadata() or {}
    except SafetensorError as error:
        raise WeightsError(f"{path}: is no safetensors file: {error}") from None


def save(net, path, version=VERSION):
    """Writes every tensor of state_dict()."""
    refuse_fused(net, "be saved from")
    values = {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}
    metadata = {"seen": str(net.seen), "darknet_version": ".".join(map(str, version))}
    with replacing(path) as file:
        file.write(to_bytes(values, metadata))


def version_of(path):
    """Version of the .weights file that a file was made from."""
    text = read(path)[1].get("darknet_version")
    return tuple(int(part) for part in text.split(".")) if text else VERSION

"""Darknet's tools for trained values: each changes a loaded network, or makes a new one."""

import copy

import torch

from ..cfg import Section
from ..layers.batchnorm import EPS
from ..network import Network
from . import darknet
from .darknet import WeightsError


@torch.no_grad()
def average(net, paths):
    """Fills the network with the mean of several files; `seen` is that of the first."""
    sums, seen = None, None
    for path in paths:
        darknet.load(net, path, strict=True)
        values = [tensor.double() for tensor in _stored(net)]
        sums = values if sums is None else [a + b for a, b in zip(sums, values, strict=True)]
        seen = net.seen if seen is None else seen
    for tensor, total in zip(_stored(net), sums, strict=True):
        tensor.copy_(total / len(paths))
    net.seen = seen


def _stored(net):
    return [tensor for layer in net.layers for tensor in layer.stored()]


def _first_convolution(net):
    first = net.layers[0]
    if getattr(getattr(first, "weight", None), "dim", int)() != 4 or first.weight.shape[1] != 3:
        raise WeightsError(
            f"{net.cfg_path}: the first layer is [{first.section.name}]; a convolution of 3 "
            "channels is needed"
        )
    return first


@torch.no_grad()
def rescale(net):
    """For a network trained on inputs of -1..1, that takes 0..1 from now on: w x becomes
    2 w x - sum of w. Under batch normalisation the sum moves the mean."""
    first = _first_convolution(net)
    total = first.weight.double().sum((1, 2, 3))
    first.weight.mul_(2)
    if first.batch_normalize:
        first.rolling_mean.copy_(first.rolling_mean.double() + total)
    else:
        first.bias.copy_(first.bias.double() - total)


@torch.no_grad()
def rgbgr(net):
    """Swaps red and blue in what the first convolution reads."""
    first = _first_convolution(net)
    first.weight.copy_(first.weight.flip(1))


@torch.no_grad()
def reset(net):
    """Puts the statistics of batch normalisation into weights and biases: scales become 1, means 0
    and variances 1 - 1e-5, so that outputs stay as they are."""
    for layer in net.modules():
        if not (hasattr(layer, "rolling_var") and hasattr(layer, "weight")):
            continue
        factor = layer.scale.double() / (layer.rolling_var.double() + EPS).sqrt()
        layer.bias.copy_(layer.bias.double() - layer.rolling_mean.double() * factor)
        sides = [-1] + [1] * (layer.weight.dim() - 1)
        layer.weight.copy_(layer.weight.double() * factor.view(sides))
        layer.scale.fill_(1)
        layer.rolling_mean.zero_()
        layer.rolling_var.fill_(1 - EPS)


@torch.no_grad()
def fuse(net):
    """A network of its own with batch normalisation folded into weights; `cfg.dump(sections)` of
    it describes it. A [batchnorm] on its own stays."""
    sections = [_without_norm(section) for section in net.sections]
    plain = Network(sections)
    folded = net.fused()
    for ours, values in zip(_stored(plain), _stored(folded), strict=True):
        ours.copy_(values)
    plain.seen, plain.names = net.seen, copy.copy(net.names)
    return plain.eval()


def _without_norm(section):
    plain = Section(section.name, section.line, section.source)
    for key, value in section.items():
        plain.set(key, "0" if key in ("batch_normalize", "cbn") else value)
    return plain

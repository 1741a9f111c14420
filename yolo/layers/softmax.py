"""[softmax]  y = softmax(x / temperature), in each of `groups` equal parts: a classifier's head."""

from math import prod

import torch
from torch.autograd.function import once_differentiable

from ..loss.head import Averages, HeadLoss, send
from .layer import Layer


class Softmax(Layer):
    """Class probabilities, and the cross entropy with the labels."""

    is_output = True

    def __init__(self, section, place):
        super().__init__(section, place)
        self.groups = section.int("groups", 1, 1)
        self.temperature = section.float("temperature", 1.0, 1e-6)
        self.noloss = section.bool("noloss", False)
        for key in ("tree", "spatial"):
            if section.string(key, "0") != "0":
                raise section.error(f"{key} is not available: there is one softmax a group", key)
        self.begin(place)

    def shape(self, x):
        if prod(x) % self.groups:
            raise self.section.error(f"groups={self.groups} must divide {prod(x)} inputs", "groups")
        return prod(x), 1, 1

    def forward(self, x):
        return _Softmax.apply(x, self.groups, self.temperature)

    def loss(self, x, truth, state):
        """truth: class numbers (N), or how much of each class (N, classes)."""
        y = _softmax(x.detach(), self.groups, self.temperature)
        if self.noloss:
            return HeadLoss(0.0, torch.zeros_like(x), send(x, torch.zeros_like(x), 0.0))
        target = class_targets(truth, y, state.options.label_smooth_eps)
        # Darknet counts every class that is present at all fully, and leaves out 1 / temperature
        cost = -y.clamp(min=torch.finfo(y.dtype).tiny).log()[target != 0].sum().item()
        delta = (target - y).view_as(x)
        right = (y.flatten(1).argmax(1) == target.flatten(1).argmax(1)).sum().item()
        averages = Averages(len(x), classes=(y.flatten(1) * target.flatten(1)).sum().item())
        return HeadLoss(cost, delta, send(x, delta, cost), averages, {"right": right})


def class_targets(truth, like, smooth=0.0):
    """(N) class numbers or (N, classes) weights -> weights of the shape of `like`."""
    n, classes = len(like), like[:1].numel() or like.shape[1]
    if truth.shape[0] != n or truth.dim() > 2 or (truth.dim() == 2 and truth.shape[1] != classes):
        raise ValueError(
            f"labels of shape {tuple(truth.shape)} do not fit {n} images with {classes} classes; "
            f"expected ({n},) class numbers or ({n}, {classes}) weights"
        )
    if truth.dim() == 2:
        return truth.to(like).view_as(like)
    truth = truth.to(like.device, torch.int64)
    if n and not (int(truth.min()) >= 0 and int(truth.max()) < classes):
        raise ValueError(f"labels must lie in 0..{classes - 1}, got {truth.tolist()}")
    target = like.new_full((n, classes), smooth / max(1, classes - 1))
    return target.scatter_(1, truth[:, None], 1 - smooth).view_as(like)


def _softmax(x, groups, temperature):
    parts = x.reshape(x.shape[0], groups, x[:1].numel() // groups)
    return torch.softmax(parts / temperature, 2).reshape(x.shape[0], -1, 1, 1)


class _Softmax(torch.autograd.Function):
    """Backward hands the gradient through: a [cost] that follows differentiates nothing here."""

    @staticmethod
    def forward(ctx, x, groups, temperature):
        ctx.shape = x.shape
        return _softmax(x, groups, temperature)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        return grad_y.reshape(ctx.shape), None, None

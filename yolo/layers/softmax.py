"""[softmax]  y = softmax(x / temperature), in each of `groups` equal parts: a classifier's head."""

from math import prod

import torch
from torch.autograd.function import once_differentiable

from ..loss.head import Averages, HeadLoss
from .layer import Layer
from .tree import read_tree


class Softmax(Layer):
    """Class probabilities, and the cross entropy with the labels."""

    is_output = True

    def __init__(self, section, place):
        super().__init__(section, place)
        self.groups = section.int("groups", 1, 1)
        self.temperature = section.float("temperature", 1.0, 1e-6)
        self.noloss = section.bool("noloss", False)
        self.refuse({"spatial": "the outputs of all pixels share one softmax"})
        self.begin(place)
        self.tree = read_tree(section, prod(self.out_shape))

    def shape(self, x):
        if prod(x) % self.groups:
            raise self.section.error(f"groups={self.groups} must divide {prod(x)} inputs", "groups")
        return prod(x), 1, 1

    def forward(self, x):
        return _Through.apply(x, self.activate(x.detach()))

    def activate(self, x):
        """With a tree each class's probability given its parent."""
        x = x.flatten(1) / self.temperature
        if self.tree:
            y = self.tree.softmax(x, 1)
        else:
            y = x.unflatten(1, (self.groups, -1)).softmax(2).flatten(1)
        return y[:, :, None, None]

    def loss(self, x, truth, state):
        """truth: class numbers (N), or how much of each class (N, classes)."""
        if self.noloss:
            return HeadLoss.of(x, torch.zeros_like(x), 0.0)
        y = self.activate(x.detach()).flatten(1)
        smooth = 0.0 if self.tree else state.options.label_smooth_eps
        target, counts = class_targets(truth, y, smooth), 1
        label, found = target.argmax(1), y
        if self.tree:
            found = self.tree.leaves(self.tree.probabilities(y, 1), 1)
            target, counts = self.tree.spread(target)
        # Darknet counts every class that is present at all fully, and leaves out 1 / temperature
        cost = -y.clamp(min=torch.finfo(y.dtype).tiny).log()[target != 0].sum().item()
        delta = ((target - y) * counts).view_as(x)
        right = (found.argmax(1) == label).sum().item()
        averages = Averages(len(x), classes=found.gather(1, label[:, None]).sum().item())
        return HeadLoss.of(x, -delta, cost, averages, {"right": right})


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


class _Through(torch.autograd.Function):
    """y, a function of x, whose gradient goes to x as it is: a [cost] that follows differentiates
    nothing here."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.shape = x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        return grad_y.reshape(ctx.shape), None

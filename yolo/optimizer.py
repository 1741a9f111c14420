"""Darknet's update rule.

With g = minus the gradient summed over the images since the last update (`.grad` holds -g), B the
number of those images, and s the layer's own learning_rate:

    u <- momentum * u + g - decay * B * w        (the decay of weights; biases and scales have none)
    w <- w + rate * s / B * u

So rate and decay mean the same at any batch size, and the decay passes through the momentum.

With [net] adam=1 convolutions follow Adam instead, decay on all their parameters, g as a sum:

    u <- g - decay * B * w;   m <- B1 m + (1 - B1) u;   v <- B2 v + (1 - B2) u^2
    w <- w + rate * s * (m / (1 - B1^b)) / (sqrt(v / (1 - B2^b)) + eps)   b: number of the update
"""

import math

import torch

from .ops import update as fused

UPDATE = "update"  # in the state of a parameter: momentum * u
SHORTCUT_LIMIT = 1.0  # the weights of [shortcut] add up whole feature maps: u is held within this


class DarknetSGD(torch.optim.Optimizer):
    """Updates the parameters of a network whose layers carry Darknet's common keys.

    Layers that are frozen have no part in it: their parameters stay as they are, without decay,
    and what gradients they get is forgotten.
    """

    def __init__(self, net, options=None):
        self.net, self.options = net, options or net.options
        groups = _groups(net.layers, self.options)
        if not groups:
            raise ValueError("there is nothing to train: no layer has parameters that may change")
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, rate: float, images: int | None = None, batch_number: int | None = None):
        """One update from the accumulated gradients, which it takes: every .grad is None after it.

        images: B, by default what [net] says; batch_number: the number of this update from 1, by
        default the network's iteration.
        """
        if images is None:
            images = images_per_update(self.options)
        if batch_number is None:
            batch_number = max(1, self.net.iteration)
        entries = []
        for group in self.param_groups:
            if batch_number < group["first"]:
                continue
            if not group["adam"] and fused.in_one_call(group["params"][0]):
                entries += self._entries(group, images)
                continue
            if group["adam"]:
                self._adam(group, rate * group["rate"], images, batch_number)
            else:
                self._momentum(group, rate * group["rate"] / images, images)
            if group["clip"]:
                torch._foreach_clamp_min_(group["params"], -group["clip"])
                torch._foreach_clamp_max_(group["params"], group["clip"])
        if entries:
            fused.update(entries, rate, self.options.momentum)
        self.net.zero_grad(set_to_none=True)

    def _entries(self, group, images: int) -> list:
        """What fused.update takes instead of _momentum and the clip."""
        numbers = group["decay"] * images, group["rate"] / images, group["limit"], group["clip"]
        params = group["params"]
        states = self._state(params, UPDATE)
        return [fused.Entry(p, u, *numbers) for p, u in zip(params, states, strict=True)]

    def _momentum(self, group, rate: float, images: int) -> None:
        params = group["params"]
        update = self._state(params, UPDATE)
        _subtract_gradients(update, params)
        if group["limit"]:
            torch._foreach_clamp_min_(update, -group["limit"])
            torch._foreach_clamp_max_(update, group["limit"])
        if group["decay"]:
            torch._foreach_add_(update, params, alpha=-group["decay"] * images)
        torch._foreach_add_(params, update, alpha=rate)
        torch._foreach_mul_(update, self.options.momentum)

    def _adam(self, group, rate: float, images: int, batch_number: int) -> None:
        params, options = group["params"], self.options
        first, second = self._state(params, "first"), self._state(params, "second")
        update = torch._foreach_mul(params, -group["decay"] * images)
        _subtract_gradients(update, params)
        torch._foreach_lerp_(first, update, 1 - options.B1)
        torch._foreach_mul_(second, options.B2)
        torch._foreach_addcmul_(second, update, update, 1 - options.B2)
        spread = torch._foreach_div(second, 1 - options.B2**batch_number)
        torch._foreach_sqrt_(spread)
        torch._foreach_add_(spread, options.eps)
        torch._foreach_addcdiv_(params, first, spread, rate / (1 - options.B1**batch_number))

    def _state(self, params, name: str) -> list:
        for p in params:
            if name not in self.state[p]:
                self.state[p][name] = torch.zeros_like(p)
        return [self.state[p][name] for p in params]


def images_per_update(options) -> int:
    """B: whole mini-batches, as many as there are subdivisions."""
    steps = getattr(options, "time_steps", 1)
    return max(1, options.batch // options.subdivisions) * options.subdivisions * steps


def _subtract_gradients(update, params) -> None:
    """update += g. A parameter that the loss did not reach has g = 0: it decays all the same."""
    reached = [(u, p.grad) for u, p in zip(update, params, strict=True) if p.grad is not None]
    if reached:
        torch._foreach_sub_(*map(list, zip(*reached, strict=True)))


def _groups(layers, options) -> list[dict]:
    """Parameters that are updated alike, in the order of the layers."""
    groups = {}
    for layer, first in zip(layers, first_updates(layers, options), strict=True):
        for name, parameter in layer.named_parameters():
            if first == math.inf or not parameter.requires_grad:
                continue
            how = _rule(layer, name, options) | {"first": first}
            groups.setdefault(tuple(how.values()), how | {"params": []})["params"].append(parameter)
    return list(groups.values())


def _rule(layer, name: str, options) -> dict:
    """What one parameter of a layer is updated with."""
    kind, is_weight = layer.section.name, name.split(".")[-1] == "weight"
    convolution = kind in ("convolutional", "conv")
    adam = bool(getattr(options, "adam", 0)) and convolution
    shortcut = kind == "shortcut"
    return {
        "rate": layer.learning_rate,
        "adam": adam,
        "decay": options.decay if adam or (is_weight and not shortcut) else 0.0,
        "limit": SHORTCUT_LIMIT if shortcut else 0.0,
        "clip": layer.clip if convolution and is_weight else 0.0,
    }


def first_updates(layers, options) -> list[float]:
    """For each layer the number of the first update that it takes part in; inf: never."""
    first, reaching_back = [], 1
    for layer in reversed(layers):
        # These two hold for the layers before as well.
        if layer.stopbackward == 1 or layer.train_only_bn:
            reaching_back = math.inf
        elif layer.stopbackward:
            reaching_back = max(reaching_back, layer.stopbackward + 1)
        own = max(layer.dont_update + 1, math.ceil(layer.burnin_update * options.burn_in))
        first.append(math.inf if layer.onlyforward else max(reaching_back, own))
    return first[::-1]

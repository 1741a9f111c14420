"""Which number was the first that is not finite."""

import torch


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
    with torch.no_grad():
        for layer, output in zip(net.layers, net.outputs(x), strict=True):
            if not output.isfinite().all():
                return f"first in the output of layer {layer.index} [{layer.section.name}]"
    return "every layer's output is finite, the loss is not"

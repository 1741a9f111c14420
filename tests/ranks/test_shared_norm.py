"""Batch normalisation over the images of all ranks equals that of one process: values, gradients
and rolling statistics, by each of the ways that a layer may take."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file


def expected(images, activation):
    """The same in float64 by PyTorch, over all images."""
    torch.manual_seed(0)
    x, weight = torch.randn(images, 3, 8, 8), torch.randn(20, 3, 3, 3)
    grad_y, scale, bias = torch.randn(images, 20, 8, 8), torch.rand(20) + 0.5, torch.randn(20)
    x, weight, scale, bias = (t.double().requires_grad_() for t in (x, weight, scale, bias))
    mean, var = torch.zeros(20).double(), torch.ones(20).double()
    y = F.conv2d(x, weight, padding=1)
    y = F.batch_norm(y, mean, var, scale, bias, True, 0.01, 1e-5)
    y = {"leaky": lambda t: F.leaky_relu(t, 0.1), "mish": F.mish, "linear": lambda t: t}[
        activation
    ](y)
    y.backward(grad_y.double())
    grads = {"grad_x": x.grad, "weight": weight.grad, "scale": scale.grad, "bias": bias.grad}
    return {"y": y.detach(), "mean": mean, "var": var} | grads


@pytest.mark.parametrize("activation", ["leaky", "mish", "linear"])
@pytest.mark.parametrize("block", ["separate", "planar", "packed"])
@pytest.mark.parametrize("ranks", [1, 3])
def test_equals_one_process(together, ranks, block, activation):
    folder = together(ranks, "normalise", block=block, images=5, activation=activation)
    parts = [load_file(folder / f"{rank}.safetensors") for rank in range(ranks)]
    for name, wanted in expected(5, activation).items():
        if name in ("y", "grad_x"):
            found = torch.cat([part[name] for part in parts])
        else:
            found = parts[0][name]
            assert all(torch.equal(found, part[name]) for part in parts), name
        error = (found - wanted).abs().max().item()
        assert error <= 2e-5 * wanted.abs().max().item(), (name, error)

"""Layers on their own: built from cfg text, in float64, with parameters that are not trivial."""

import pytest
import torch

from yolo.cfg import parse
from yolo.network import Network


def randomise(module):
    """Values that tell every parameter and statistic apart."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        if name.endswith(("scale", "rolling_var")):
            tensor.data.uniform_(0.5, 1.5)
        else:
            tensor.data.normal_(0, 0.5)


@pytest.fixture
def build():
    """build(text, (C, H, W)) -> Network of the sections in text, in float64."""

    def make(text, shape=(3, 8, 8)):
        channels, height, width = shape
        head = f"[net]\nchannels={channels}\nheight={height}\nwidth={width}\n"
        net = Network(parse(head + text, "test.cfg")).double()
        randomise(net)
        return net

    return make


@pytest.fixture
def layer(build):
    """layer(text, (C, H, W)) -> the last layer."""
    return lambda text, shape=(3, 8, 8): build(text, shape).layers[-1]


@pytest.fixture
def image():
    """image(N, C, H, W) -> random float64 values, some of them negative."""

    def make(*shape):
        return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    return make

"""torch.export and torch.compile(fullgraph=True) see a network as one graph of our operators."""

import copy

import pytest
import torch

from yolo.cfg import parse
from yolo.network import Network

HEAD = "[net]\nwidth=16\nheight=16\nchannels=3\n"
DETECTOR = (
    HEAD
    + """[conv]
batch_normalize=1
filters=8
size=3
pad=1
stride=2
activation=mish
[conv]
filters=8
size=3
pad=1
groups=2
activation=leaky
[shortcut]
from=-2
[maxpool]
size=2
stride=2
[conv]
filters=14
activation=linear
[yolo]
classes=2
num=2
[route]
layers=-3
[upsample]
stride=2
[route]
layers=-1,0
groups=2
group_id=1
"""
)
ODD = (
    HEAD
    + """[crop]
crop_height=12
crop_width=12
[conv]
filters=6
size=3
stride=2
pad=1
antialiasing=1
activation=swish
[normalization]
[local_avgpool]
size=2
[conv]
xnor=1
filters=6
activation=linear
[implicit]
filters=6
[scale_channels]
from=-2
[local]
size=2
filters=3
activation=tanh
[connected]
output=4
[softmax]
"""
)
# without [crop], whose part is random in training
TRAINED = {"detector": DETECTOR,
           "odd": ODD.replace("[crop]\ncrop_height=12\ncrop_width=12\n", "")}  # fmt: skip


def network(text):
    net = Network(parse(text, "small.cfg"))
    for name, buffer in net.named_buffers():
        if name.endswith("rolling_var"):
            buffer.fill_(1.0)
    return net


@pytest.fixture
def x():
    return torch.rand(2, 3, 16, 16)


TEXTS = {"detector": DETECTOR, "odd": ODD}


@pytest.mark.parametrize("name", TEXTS)
@torch.no_grad()
def test_exported_program_gives_the_same_outputs(x, name):
    net = network(TEXTS[name]).eval()
    program = torch.export.export(net, (x,))
    assert "torch.ops.yolo.conv2d_forward" in program.graph_module.code
    torch.testing.assert_close(program.module()(x), net(x))


# The default backend, inductor, writes C++ for what lies between our operators and compiles it.
BACKENDS = ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)]


@pytest.fixture(autouse=True)
def forgotten():
    """No test meets what another one compiled."""
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", TEXTS)
@torch.no_grad()
def test_compiled_as_one_graph(x, name, backend):
    net = network(TEXTS[name]).eval()
    compiled = torch.compile(net, fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(x), net(x))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", TRAINED)
def test_compiled_training_has_the_same_gradients_and_statistics(x, name, backend):
    net = network(TRAINED[name]).train()
    other = copy.deepcopy(net)
    compiled = torch.compile(other, fullgraph=True, backend=backend)
    for one in (net, compiled):
        sum(y.square().sum() for y in one(x)).backward()
    ours, theirs = dict(net.named_parameters()), dict(other.named_parameters())
    for key, parameter in ours.items():
        if parameter.grad is not None:
            torch.testing.assert_close(theirs[key].grad, parameter.grad, rtol=1e-3, atol=1e-5)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in ours.values())
    torch.testing.assert_close(dict(other.named_buffers()), dict(net.named_buffers()))

"""torch.export and torch.compile(fullgraph=True) see a network as one graph of our operators."""

import copy

import pytest
import torch

from yolo import ops
from yolo.cfg import parse
from yolo.network import Network
from yolo.ops import winograd

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


ROIS = torch.tensor([[0, 0.1, 0.1, 0.7, 0.8], [1, 0.2, 0.0, 0.9, 0.6]])
OPERATIONS = {
    **{name: lambda x, name=name: ops.activate(x, name) for name in ops.ACTIVATIONS},
    "conv2d": lambda x: ops.conv2d(x, torch.ones(2, 4, 3, 3), None, 2, 1),
    "conv1d": lambda x: ops.conv1d(x[:, :, 0], torch.ones(3, 4, 3)),
    "linear": lambda x: ops.linear(x.flatten(1), torch.ones(3, 256)),
    "bias_act": lambda x: ops.bias_act(x, x[0, :, 0, 0], "selu"),
    "batch_norm_act": lambda x: ops.batch_norm_act(
        x, x[0, :, 0, 0], x[0, :, 0, 1], torch.zeros(4), torch.ones(4), False, "mish"
    ),
    "prelu": lambda x: ops.prelu(x, x[0, :, 0, 0]),
    "maxpool2d": lambda x: ops.maxpool2d(x, 3, 2, 2),
    "avgpool": ops.avgpool,
    "upsample": lambda x: ops.upsample(x, 2),
    "reorg": lambda x: ops.reorg(x, 2),
    "multiply": lambda x: ops.multiply(x, x[:, :, :1, :1]),
    "concatenate": lambda x: ops.concatenate([x, ops.enlarge(x[:, :, ::2, ::2], 2, 1.0)]),
    "roi_align": lambda x: ops.roi_align(x, ROIS, (2, 2), 2),
    "roi_pool": lambda x: ops.roi_pool(x, ROIS, (2, 2)),
}


def test_each_operation_compiled_has_the_same_gradient():
    """One that is lost on the way is no error in PyTorch, but zero."""
    given = [torch.randn(2, 4, 8, 8) for _ in OPERATIONS]

    def run(xs):
        return [operation(x) for operation, x in zip(OPERATIONS.values(), xs, strict=True)]

    found = []
    for function in (run, torch.compile(run, fullgraph=True, backend="aot_eager")):
        xs = [x.clone().requires_grad_() for x in given]
        sum((y * torch.linspace(1, 2, y.numel()).view_as(y)).sum() for y in function(xs)).backward()
        found.append(dict(zip(OPERATIONS, (x.grad for x in xs), strict=True)))
    torch.testing.assert_close(found[1], found[0])
    assert [name for name, grad in found[0].items() if not grad.any()] == []


@pytest.mark.parametrize("first", ops.BACKENDS)
@pytest.mark.parametrize("grad", [False, True])
def test_the_backend_of_a_call_is_the_one_around_it(first, grad):
    """A compiled function follows the block that calls it, or one inside; each is compiled anew."""
    x, graphs = torch.rand(1, 4, 6, 6, requires_grad=grad), []

    def look(module, inputs):
        graphs.append(module.code)
        return module

    def convolve(x):
        return ops.conv2d(x, torch.ones(2, 4, 3, 3))

    def inside(x):
        with ops.backend("torch"):
            return convolve(x)

    compiled = torch.compile(convolve, fullgraph=True, backend=look)
    for name in (first, *ops.BACKENDS, first):
        with ops.backend(name):
            compiled(x)
    assert sorted("torch.conv2d" in code for code in graphs) == [False, True]
    torch.compile(inside, fullgraph=True, backend=look)(x)
    assert "torch.conv2d" in graphs[2]


def test_the_precision_of_compiled_kernels_is_that_of_the_block_they_run_in(monkeypatch):
    """Both passes, on a CPU."""
    seen, takes = [], winograd.takes

    def look(*given):
        seen.append(ops.precision.current)
        return takes(*given)

    monkeypatch.setattr(winograd, "takes", look)
    x, weight = torch.rand(1, 4, 6, 6, requires_grad=True), torch.rand(2, 4, 3, 3)
    compiled = torch.compile(lambda x: ops.conv2d(x, weight), backend="aot_eager", fullgraph=True)
    for current in ("exact", "fast", "exact"):
        with ops.precision(current):
            compiled(x).sum().backward()
        assert seen and {*seen} == {current}
        seen.clear()

"""Outputs that their readers write: the same numbers as by passes of their own."""

import copy

import pytest
import torch

from tests.micro_net import HEAD
from tests.ops.oracle import leaf
from yolo import cfg, ops
from yolo.network import Network
from yolo.ops import concat, pending, unwritten

# A chain, a shortcut onto a trunk, a fork read by two convolutions and a route, a pool, an
# enlargement, concatenations of all kinds, a head.
BLOCKS = (
    """
[net]
width=16
height=12
channels=3
[convolutional]
batch_normalize=1
filters=6
size=3
pad=1
activation=mish
[convolutional]
batch_normalize=1
filters=4
size=1
activation=leaky
[convolutional]
batch_normalize=1
filters=6
size=3
pad=1
activation=swish
[shortcut]
from=-3
activation=linear
[convolutional]
batch_normalize=1
filters=5
size=3
stride=2
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=3
size=1
activation=mish
[route]
layers=-2
[convolutional]
batch_normalize=1
filters=5
size=1
activation=loggy
[route]
layers=-1,-3,-4
[convolutional]
batch_normalize=1
filters=4
size=1
activation=relu
[maxpool]
size=2
stride=1
[convolutional]
batch_normalize=1
filters=7
size=3
stride=2
pad=1
activation=leaky
[upsample]
stride=2
scale=0.5
[route]
layers=-1,-4
[route]
layers=1
[convolutional]
batch_normalize=1
filters=5
size=3
stride=2
pad=1
activation=swish
[route]
layers=-1,-3
"""
    + HEAD
)


def normed(x, scale, bias, mean, rstd, total, activation):
    return pending.Pending(x, scale, bias, pending.Normed(mean, rstd, total, True, activation))


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "forks.cfg"
    path.write_text(BLOCKS)
    return Network(cfg.read(str(path)), seed=3).double().train()


def step(net, layout):
    """(heads, gradients and buffers) of one pass in training."""
    net = copy.deepcopy(net)
    net.layout = layout
    x = torch.rand(2, 3, 12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    boxes = torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.3], [1, 0, 0.3, 0.6, 0.4, 0.2]]).double()
    heads = net(x)
    (net.loss(x, boxes).total + sum(head.square().sum() for head in heads)).backward()
    return heads, {n: p.grad for n, p in net.named_parameters()} | dict(net.named_buffers())


def assert_same(found, wanted):
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-10, atol=1e-12)
    assert found[1].keys() == wanted[1].keys()
    for key, value in wanted[1].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-8, atol=1e-11, msg=key)


def test_a_network_learns_the_same(net):
    assert_same(step(net, "pending"), step(net, "planar"))


def test_gradients_are_taken_with_the_convolution_that_reads(net, monkeypatch):
    """Four layers are written by a convolution, one of them with the sum of the shortcut."""
    seen = []

    def watch(*args):
        seen.append(args[6] is not None)
        return plain(*args)

    plain = pending._grad_norm_act
    monkeypatch.setattr(pending, "_grad_norm_act", watch)
    step(net, "pending")
    # in the order of the backward pass of two runs: the fork, the shortcut, what the last routes
    # read as well, and the first layer, which the shortcut reads as well
    assert seen == [True, False, True, True] * 2


def test_parts_are_written_into_their_concatenation(net, monkeypatch):
    """Those with no other reader: a normalised layer in two routes, an enlargement in one."""
    written = []
    for kind in (unwritten.Copied, concat.Enlargement, pending.Normed):

        def watch(self, y, *inputs, plain=kind.write, name=kind.__name__):
            if not y.is_contiguous():  # a slice
                written.append(name)
            return plain(self, y, *inputs)

        monkeypatch.setattr(kind, "write", watch)
    step(net, "pending")
    first, second, third = "Copied Normed Copied", "Enlargement Copied", "Normed Copied"
    assert written == " ".join([first, second, third] * 2).split()


def test_frozen_and_untrained_layers(net):
    net.layers[5].onlyforward = True  # one reader of the fork gives no gradient
    net.layers[0].requires_grad_(False)
    assert_same(step(net, "pending"), step(net, "planar"))


def test_checkpoints(net):
    wanted = step(net, "planar")
    net.checkpoint_activations = True
    assert_same(step(net, "pending"), wanted)


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("geometry", [(1, 1, 1, 1), (2, 1, 1, 2)])
def test_gradcheck(extra, geometry):
    """extra: a residual, and another reader of y."""
    x, weight, scale, bias = leaf(2, 4, 5, 6), leaf(6, 4 // geometry[3], 3, 3), leaf(4), leaf(4)
    other, mixed = leaf(2, 4, 5, 6), torch.randn(2, 4, 5, 6).double()

    def run(x, other, scale, bias, weight):
        mean = x.mean((0, 2, 3)).detach()
        rstd = torch.rsqrt(x.var((0, 2, 3), correction=0).detach() + 1e-5)
        y = normed(x, scale, bias, mean, rstd, None, "swish").expect(1)
        y = y.plus(other) if extra else y
        z = ops.convolved(y, weight, geometry)
        return (z.square().sum(), (y.planar() * mixed).sum()) if extra else z.square().sum()

    assert torch.autograd.gradcheck(run, (x, other, scale, bias, weight))


def test_only_in_training_with_gradients():
    x, weight = torch.rand(1, 3, 5, 5).double(), leaf(4, 3, 3, 3)
    channels = [torch.ones(4).double() for _ in range(4)]

    def run(training, activation="leaky"):
        return ops.conv_batch_norm_act(x, weight, channels[:2], channels[2:], training, activation)

    with ops.layout("pending"):
        assert isinstance(run(True), ops.Pending)
        assert all(torch.is_tensor(y) for y in (run(False), run(True, "gelu")))
        with torch.no_grad():
            assert torch.is_tensor(run(True))
        with ops.backend("torch"):
            assert torch.is_tensor(run(True))
    assert torch.is_tensor(run(True))


def test_statistics_over_all_ranks():
    """Of one rank alone they are its own; the number of values comes as that of all."""
    x, weight, scale, bias = leaf(3, 4, 5, 6), leaf(2, 4, 1, 1), leaf(4), leaf(4)
    mean = x.mean((0, 2, 3)).detach()
    rstd = torch.rsqrt(x.var((0, 2, 3), correction=0).detach() + 1e-5)
    found = []
    for total in (None, torch.tensor(90.0).double()):
        y = normed(x, scale, bias, mean, rstd, total, "mish")
        z = ops.convolved(y, weight, (1, 0, 1, 1))
        found.append(torch.autograd.grad(z.square().sum(), (x, scale, bias, weight)))
    torch.testing.assert_close(*found)

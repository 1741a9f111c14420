"""Parts of concatenations, written in their places by whoever computes them first."""

import pytest
import torch

from tests.micro_net import HEAD
from yolo.cfg import parse
from yolo.network import Network
from yolo.ops import precision
from yolo.ops.unwritten import Copied

CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize={}\nstride={}\npad=1\nactivation={}\n"
BOXES = torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.3], [1, 0, 0.3, 0.6, 0.4, 0.2]])
# What 9 joins: a shortcut that a convolution reads first, an enlargement that a convolution reads
# first, a pool that another pool reads first, a convolution that is read by nobody else, the first
# layer, which 10 joins as well. 10 and 11 join the same layers: 11 copies. 13 has odd channels, so
# 14 and 16 copy. 15 joins 9 and 10, parts and all.
PLACES = "".join(
    [
        "[net]\nwidth=8\nheight=8\nchannels=3\nbatch=2\n",
        CONV.format(8, 3, 1, "mish"),  # 0
        CONV.format(8, 3, 1, "leaky"),
        "[shortcut]\nfrom=-2\nactivation=linear\n",  # 2
        CONV.format(16, 3, 2, "leaky"),
        "[upsample]\nstride=2\n",  # 4
        CONV.format(8, 1, 1, "mish"),
        "[maxpool]\nsize=3\nstride=1\n",  # 6
        "[maxpool]\nsize=5\nstride=1\n",
        CONV.format(8, 1, 1, "leaky"),  # 8
        "[route]\nlayers=-1,-3,-5,-7,0\n",
        "[route]\nlayers=5,0\n",  # 10
        "[route]\nlayers=5,0\n",
        CONV.format(8, 3, 1, "leaky"),  # 12
        CONV.format(5, 1, 1, "leaky"),
        "[route]\nlayers=-1,-2\n",  # 14
        "[route]\nlayers=9,10,12\n",
        "[route]\nlayers=11,14,15\n",  # 16
        HEAD,
    ]
)


def network(device, text=PLACES):
    net = Network(parse(text), seed=4).to(device).train()
    net.layout = "pending"
    return net


def gradients(net, device):
    net.zero_grad()
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)).to(device)
    net.loss(x, BOXES.to(device)).total.backward()
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)
    return grads


def without_places(net):
    net._gathered = {}, {}
    return net


@pytest.fixture
def copies(monkeypatch):
    """Channels of the parts that were copied, and of those that were there."""
    copied, there, plain = [], [], Copied.write

    def write(self, y, x):
        (there if y.data_ptr() == x.data_ptr() else copied).append(x.shape[1])
        return plain(self, y, x)

    monkeypatch.setattr(Copied, "write", write)
    return copied, there


def same(mine, theirs):
    return all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_bit_for_bit_as_with_copies(device, name):
    """Memory that nobody has written is NaN; others may write beside what a reader keeps."""
    with precision(name):
        got = gradients(network(device), device)
        assert same(got, gradients(network(device), device))
        assert same(got, gradients(without_places(network(device)), device))


def test_what_stands_in_place_is_not_copied(device, copies):
    copied, there = copies
    gradients(network(device), device)
    # 9: all but 8, which has no other reader and is written there; 10: layer 5; 15: 9 and 10
    assert there == [8, 16, 8, 8, 8, 48, 16]
    # 10: layer 0; 14 and 15: layer 12. 11 and 16, in which nothing stands, are PyTorch's
    assert copied == [8, 8, 8]


@pytest.mark.parametrize("frozen", [0, 2, 4, 9])
def test_layers_that_are_not_trained(device, frozen):
    runs = []
    for places in (True, False):
        net = network(device) if places else without_places(network(device))
        net.layers[frozen].onlyforward = True
        runs.append(gradients(net, device))
    assert same(*runs)


def test_checkpoints(device):
    """A concatenation in another stretch than its part has it copied."""
    net = network(device)
    wanted = gradients(net, device)
    net.checkpoint_activations = True
    assert same(gradients(net, device), wanted)

"""Concatenations written in place: the same numbers as with copies, and no copy made."""

import pytest
import torch

from yolo import ops
from yolo.cfg import parse
from yolo.gathering import gathered, gathered_packed
from yolo.network import Network
from yolo.ops import packed

CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize={}\npad=1\nactivation=leaky\n"
# 2 has 0 and 1 written in place, so that 3, in another order, copies them; so does 6, of a pool. 9
# takes 21 channels first, no whole vectors, and is planar, as 10 is.
TEXT = "".join(
    [
        "[net]\nwidth=16\nheight=16\nchannels=3\nbatch=2\n",
        CONV.format(32, 3),
        CONV.format(48, 3),
        "[route]\nlayers=-1,-2\n",
        "[route]\nlayers=-3,-2\n",
        CONV.format(32, 1),
        "[maxpool]\nsize=3\nstride=1\n",
        "[route]\nlayers=-1,-2\n",
        CONV.format(21, 1),
        CONV.format(32, 1),
        "[route]\nlayers=-2,-1\n",
        "[route]\nlayers=-1,2,3,6\n",
        "[convolutional]\nfilters=18\nsize=1\nactivation=linear\n",
        "[yolo]\nmask=0,1,2\nanchors=4,5, 9,8, 14,16\nclasses=1\nnum=3\n",
    ]
)
BOXES = torch.tensor([[0, 0, 0.5, 0.5, 0.3, 0.4], [1, 0, 0.2, 0.7, 0.1, 0.2]])


@pytest.fixture
def net():
    return Network(parse(TEXT)).train()


def gradients(net, x):
    net.zero_grad()
    net.loss(x, BOXES).total.backward()
    return [p.grad for p in net.parameters()]


def test_only_what_all_sources_can_be_written_to(net):
    places = {
        source: (layer.index, i) for source, (layer, i) in gathered_packed(net.layers).items()
    }
    assert places == {1: (2, 0), 0: (2, 1), 7: (9, 0), 8: (9, 1)}


def test_a_source_belongs_to_the_first_that_reads_it(net):
    places = {source: (layer.index, i) for source, (layer, i) in gathered(net.layers).items()}
    assert places == {
        **{1: (2, 0), 0: (2, 1), 2: (10, 1), 5: (6, 0), 4: (6, 1)},
        **{7: (9, 0), 8: (9, 1), 9: (10, 0), 3: (10, 2), 6: (10, 3)},
    }


@pytest.mark.parametrize("again", [False, True])
def test_same_gradients(net, again):
    net.checkpoint_activations = again
    x = torch.rand(2, 3, 16, 16)
    ours = gradients(net, x)
    net._gathered = {}, {}
    for mine, wanted in zip(ours, gradients(net, x), strict=True):
        assert torch.equal(mine, wanted) and mine.isfinite().all()


def test_what_stands_in_place_is_not_copied(net, monkeypatch):
    joins, summed = [], []
    join, total = packed.join, packed.write_sum
    monkeypatch.setattr(packed, "join", lambda parts: joins.append(parts) or join(parts))
    monkeypatch.setattr(packed, "write_sum", lambda y, terms: summed.append(y) or total(y, terms))
    net.loss(torch.rand(2, 3, 16, 16), BOXES)
    assert len(joins) == 3 and len(summed) == 2  # of layers 2, 3 and 6 all but the first copy
    whole, parts = join(joins[0]), joins[0]
    assert whole.data.data_ptr() == parts[0].data.data_ptr()
    assert torch.equal(ops.unpack(whole), torch.cat([ops.unpack(part) for part in parts], 1))

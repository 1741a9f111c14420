"""Training in the packed layout against training in the planar one, through whole networks."""

import pytest
import torch

import yolo
from yolo import _C
from yolo.cfg import parse
from yolo.network import Network
from yolo.ops import Packed, packed

CONV = """[convolutional]
batch_normalize=1
filters={filters}
size={size}
stride={stride}
pad=1
groups={groups}
activation={activation}
"""
BOXES = torch.tensor([[0, 0, 0.5, 0.5, 0.3, 0.4], [1, 0, 0.2, 0.7, 0.1, 0.2]])


def conv(filters, size=3, stride=1, groups=1, activation="leaky"):
    return CONV.format(**locals())


# Every layer that keeps the layout, and some that do not: a depthwise and a dilated convolution, a
# rare activation, 20 channels before others in a route, a [sam].
MIXED = "".join(
    [
        "[net]\nwidth=32\nheight=32\nchannels=3\nbatch=2\n",
        conv(32),
        conv(64, stride=2, activation="mish"),
        "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n",
        conv(32),
        "[shortcut]\nfrom=-2\nactivation=linear\n",
        "[route]\nlayers=-1,-4\n",
        "[maxpool]\nsize=2\nstride=2\n",
        conv(96, 1, activation="swish"),
        conv(96, 3, groups=96),
        conv(20, 1),
        "[upsample]\nstride=2\n",
        "[route]\nlayers=-1,-7\n",
        conv(52, 1, activation="selu"),
        conv(52, 3),
        "[sam]\nfrom=-2\n",
        "[convolutional]\nfilters=18\nsize=1\nactivation=linear\n",
        "[yolo]\nmask=0,1,2\nanchors=4,5, 9,8, 14,16\nclasses=1\nnum=3\n",
    ]
)


def gradients(net, layout, x):
    net.layout = layout
    net.zero_grad()
    report = net.loss(x, BOXES)
    report.total.backward()
    return report.total.item(), [p.grad.clone() for p in net.parameters()]


@pytest.mark.parametrize("name", ["avx512", "avx2", "portable"])
def test_both_layouts_agree(name, monkeypatch):
    if name not in dict(_C.packed.levels()):
        pytest.skip(f"this processor has no {name}")
    monkeypatch.setenv("YOLO_ISA", name)
    net, x = Network(parse(MIXED)).train(), torch.rand(2, 3, 32, 32)
    (ours, a), (planar, b) = (gradients(net, layout, x) for layout in ("packed", "planar"))
    assert ours == pytest.approx(planar, rel=1e-5)
    for (key, _), mine, wanted in zip(net.named_parameters(), a, b, strict=True):
        assert (mine - wanted).norm() <= 1e-4 * wanted.norm(), key


def test_outputs_are_ordinary_tensors():
    net, x = Network(parse(MIXED)).train(), torch.rand(1, 3, 32, 32)
    assert not any(isinstance(y, Packed) for y in [*net(x), *net.outputs(x)])


def test_nothing_is_rearranged_inside_a_network(cfg_folder, monkeypatch):
    """The stem reads the image as it is; each head's input, and the gradient by it, are all."""
    changes = []
    for name in ("_to_packed", "_to_planar"):
        change = getattr(packed, name)
        monkeypatch.setattr(
            packed, name, lambda *a, change=change, name=name: changes.append(name) or change(*a)
        )
    net = yolo.load(cfg_folder / "yolov4-tiny.cfg").resize(64, 64).train()
    net.loss(torch.rand(2, 3, 64, 64), BOXES).total.backward()
    assert sorted(changes) == ["_to_packed"] * 2 + ["_to_planar"] * 2


def test_gradients_of_several_readers_add_up():
    x = torch.randn(2, 20, 3, 4, requires_grad=True)
    shared = packed.pack(x).expect(3)
    total = sum(i * packed.unpack(shared.reader()).sum() for i in (1, 2, 4))
    total.backward()
    assert torch.equal(x.grad, torch.full_like(x, 7))

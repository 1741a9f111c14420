"""Training in the packed layout against training in the planar one, through whole networks."""

import weakref

import pytest
import torch
import torch.nn.functional as F

import yolo
from yolo import _C, ops
from yolo.cfg import parse
from yolo.network import Network
from yolo.ops import Packed, packed, unpack

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


# Every layer that keeps the layout, and some that do not: a rare activation, 20 channels before
# others in a route.
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
        conv(64, 1),
        conv(64, 3, groups=8),
        "[avgpool]\n",
        "[convolutional]\nfilters=64\nsize=1\nactivation=logistic\n",
        "[scale_channels]\nfrom=-3\n",
        "[shortcut]\nfrom=-5\nactivation=leaky\n",
        "[shortcut]\nfrom=-2,-8\nweights_type=per_channel\nweights_normalization=softmax\n",
        "[shortcut]\nfrom=-3\nweights_type=per_feature\nweights_normalization=relu\n",
        "[convolutional]\nfilters=1\nsize=5\npad=1\nactivation=logistic\n",
        "[scale_channels]\nfrom=-2\nscale_wh=1\n",
        "[convolutional]\nfilters=64\nsize=3\npad=1\ndilation=2\nactivation=mish\n",
        "[prelu]\n",
        "[reorg3d]\nstride=2\n",
        "[reorg]\nstride=2\nreverse=1\n",
        "[dropout]\nprobability=0\n",
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


@pytest.mark.parametrize(
    "name, changed",
    [
        ("yolov4-tiny", 2),
        ("enet-coco", 2),
        ("resnet50", 1),
        pytest.param("yolov2", 1, marks=pytest.mark.long),
    ],
)
def test_nothing_is_rearranged_inside_a_network(cfg_folder, monkeypatch, name, changed):
    """The stem reads the image as it is; each head's input, and the gradient by it, are all."""
    truth = BOXES if name != "resnet50" else torch.tensor([3, 5])
    changes = []
    for way in ("_to_packed", "_to_planar"):
        change = getattr(packed, way)
        monkeypatch.setattr(
            packed, way, lambda *a, change=change, way=way: changes.append(way) or change(*a)
        )
    net = yolo.load(cfg_folder / f"{name}.cfg").resize(64, 64).train()
    net.loss(torch.rand(2, 3, 64, 64), truth).total.backward()
    assert sorted(changes) == ["_to_packed"] * changed + ["_to_planar"] * changed


def test_gradients_of_several_readers_add_up():
    x = torch.randn(2, 20, 3, 4, requires_grad=True)
    shared = packed.pack(x).expect(3)
    total = sum(i * packed.unpack(shared.reader()).sum() for i in (1, 2, 4))
    total.backward()
    assert torch.equal(x.grad, torch.full_like(x, 7))


def test_one_map_of_a_layer_is_kept():
    """Outputs, parts of them and concatenations are dropped with their last readers."""
    x = packed.pack(torch.randn(2, 16, 6, 6, requires_grad=True))
    weight = torch.randn(32, 16, 3, 3, requires_grad=True)
    bias = torch.zeros(32, requires_grad=True)
    y = ops.conv_bias_act(x, weight, bias, "leaky", 1, 1).expect(3)
    half = packed.part(y.reader(), 2, 1)
    joined = packed.join([half, y.reader()])
    pooled = ops.maxpool2d(joined, 2, 2)
    gone = [weakref.ref(t.data) for t in (y, half, joined)]
    del y, half, joined
    assert [r() for r in gone] == [None] * 3
    unpack(pooled).sum().backward()
    wanted = F.leaky_relu(F.conv2d(unpack(x), weight, padding=1), 0.1)
    wanted = F.max_pool2d(torch.cat([wanted[:, 16:], wanted], 1), 2, 2)
    (grad,) = torch.autograd.grad(wanted.sum(), weight)
    assert torch.allclose(weight.grad, grad, rtol=1e-4, atol=1e-4)

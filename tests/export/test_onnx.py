"""Exported graphs in ONNX Runtime against the network in float64."""

import json

import pytest
import torch

import yolo
from yolo import ops
from yolo.cfg import parse
from yolo.layers import LAYERS as BUILDERS
from yolo.network import Network
from yolo.ops import backend

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")

from yolo.export import check as checking  # noqa: E402
from yolo.export.activations import ACTIVATIONS  # noqa: E402
from yolo.export.layers import LAYERS  # noqa: E402
from yolo.export.onnx import model  # noqa: E402
from yolo.inspection.support import _layer as smallest  # noqa: E402

NET = "[net]\nwidth=40\nheight=24\nchannels=3\nbatch=1\n"
CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize={}\nstride={}\npad=1\nactivation={}\n"


def conv(filters, size=3, stride=1, act="leaky"):
    return CONV.format(filters, size, stride, act)


YOLO = "[yolo]\nclasses=2\nanchors=10,14, 23,27\nnum=2\nmask=0,1\nscale_x_y=1.2\n"
BODIES = {
    "activations": conv(8) + conv(8, act="mish") + conv(8, act="swish") + conv(8, act="relu6"),
    "residual": conv(8) + conv(8) + "[shortcut]\nfrom=-2\nactivation=relu\n",
    "pools": conv(6) + "[maxpool]\nstride=2\nsize=2\n[maxpool]\nstride=1\nsize=2\n"
    "[maxpool]\nstride=1\nsize=5\n[upsample]\nstride=2\nscale=.5\n[route]\nlayers=-1,0\n",
    "groups": conv(8) + "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n" + conv(8) + "groups=4\n",
    "attention": conv(8) + "[avgpool]\n" + conv(8, 1, act="logistic")
    + "[scale_channels]\nfrom=-3\n" + conv(8, act="tanh") + "[sam]\nfrom=-2\n",
    "more activations": "".join(
        conv(6, act=name)
        for name in ("loggy", "ramp", "elu", "selu", "gelu", "hard_mish", "hardtan", "relie")
    ),
    "rearranged": conv(8) + "[reorg]\nstride=2\n" + conv(8) + "[reorg3d]\nstride=2\n",
    "shrunk": conv(8) + "[upsample]\nstride=-2\nscale=.5\n[local_avgpool]\nsize=3\nstride=2\n",
    "over channels": conv(8) + "[maxpool]\nmaxpool_depth=1\nout_channels=4\n[lrn]\n",
    "weighted": conv(8) + conv(6) + conv(8) + "[shortcut]\nfrom=-2,-3\nactivation=linear\n"
    "weights_type=per_channel\nweights_normalization=softmax\n",
    "uneven sums": conv(8) + conv(8, 3, 2) + conv(6) + "[shortcut]\nfrom=-2,-3\n"
    + conv(8) + "[shortcut]\nfrom=-2\n",
    "cropped": "[crop]\ncrop_height=20\ncrop_width=30\n" + conv(4) + "[batchnorm]\n",
    "implicit": conv(8) + "[implicit]\nfilters=8\n[scale_channels]\nfrom=-2\n",
    "classifier": conv(12) + "[avgpool]\n[softmax]\ngroups=2\ntemperature=2\n[cost]\n",
    "connected": conv(8, 3, 4) + "[connected]\noutput=5\nactivation=relu\n",
    "heads": conv(20) + conv(14, 1, act="linear") + YOLO + "[route]\nlayers=-3\n"
    + conv(14, 3, 2, act="linear") + YOLO + "new_coords=1\n",
    "region": conv(14, 1, act="linear") + "[region]\nclasses=2\nanchors=1,2, 3,1\nnum=2\n"
    "coords=4\nsoftmax=1\n",
    "gaussian": conv(22, 1, act="linear") + "[Gaussian_yolo]\nclasses=2\n"
    "anchors=10,14, 23,27\nnum=2\nmask=0,1\nscale_x_y=1.1\nyolo_point=left_top\n",
    "rare activations": "".join(
        f"[activation]\nactivation={name}\n" + conv(6)
        for name in ("plse", "lhtan", "stair", "normalize_channels", "normalize_channels_softmax",
                     "normalize_channels_softmax_maxval")
    ),
    "rearranged back": conv(16) + "[reorg]\nstride=2\nreverse=1\n" + conv(16)
    + "[reorg3d]\nstride=2\nreverse=1\n",
    "local": conv(4, 3, 2) + "[local]\nfilters=3\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[local]\nfilters=2\nsize=2\nstride=2\nactivation=linear\n",
    "signs": conv(8) + conv(8) + "xnor=1\n" + conv(8) + "binary=1\n" + conv(8, 3, 2) + "xnor=1\n",
    "shared": conv(8) + conv(8) + conv(8, act="mish") + "share_index=-1\n",
    "blurred": conv(8, 3, 2) + "antialiasing=1\n" + conv(8, 3, 2) + "antialiasing=2\n"
    "[maxpool]\nsize=2\nstride=2\nantialiasing=1\n",
    "largest": conv(8) + "[maxpool]\nsize=3\nstride=1\nmaxpool_zero_nonmax=1\n[contrastive]\n",
    "detection": conv(4, 3, 4) + "[connected]\noutput=108\nactivation=linear\n[detection]\n"
    "classes=2\ncoords=4\nside=3\nnum=2\nsoftmax=1\nsqrt=1\n",
}  # fmt: skip


def settled(net):
    generator = torch.Generator().manual_seed(3)
    for name, buffer in net.named_buffers():
        if name.endswith("rolling_var"):
            buffer.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


@torch.no_grad()
def check(net, batch):
    x = torch.rand(batch, *net.input_shape)
    session = onnxruntime.InferenceSession(model(net, batch).SerializeToString())
    outputs = session.run(None, {"images": x.numpy()})
    expected = in_float64(net, x)
    assert [y.name for y in session.get_outputs()] == [f"head_{i}" for i in net.heads]
    for y, wanted in zip(outputs, expected, strict=True):
        assert y.shape == wanted.shape
        error = (torch.from_numpy(y).double() - wanted).norm() / wanted.norm()
        assert error <= 1e-5, f"relative L2 {error:.2e}"


def in_float64(net, x):
    with backend("torch"):
        return net.fused().double()(x.double())


@pytest.mark.parametrize("name", BODIES)
def test_model_computes_the_network(name):
    check(settled(Network(parse(NET + BODIES[name]))), batch=2)


@pytest.mark.parametrize("name", ["yolov4-tiny", "yolov3-tiny"])
def test_shipped_cfg(name, cfg_folder):
    check(settled(yolo.load(cfg_folder / f"{name}.cfg").resize(96, 64)), batch=1)


TREE = "a -1\nb -1\nc 0\nd 0\ne 2\nf 2\ng 2\n"
TREES = {
    "classifier": conv(7) + "[avgpool]\n[softmax]\ntemperature=2\n",
    "region": conv(24, 8, 8, act="linear") + "[region]\nclasses=7\nanchors=1,2, 3,1\nnum=2\n",
    "region, unsure": conv(24, 8, 8, act="linear")
    + "[region]\nclasses=7\nanchors=1,2, 3,1\nnum=2\nclassfix=-1\n",
}


@pytest.fixture
def tree_net(request, tmp_path):
    """A network whose head has a tree of classes, with outputs that are far apart."""
    (tmp_path / "seven.tree").write_text(TREE)
    net = settled(Network(parse(NET + TREES[request.param] + f"tree={tmp_path}/seven.tree\n")))
    with torch.no_grad():
        weight = net.layers[0].weight
        weight.mul_(16)
        if "region" in request.param:
            weight.view(2, 12, -1)[:, :4] /= 16  # boxes as they are
    return net


@pytest.mark.parametrize("tree_net", TREES, indirect=True)
def test_a_tree_of_classes(tree_net):
    check(tree_net, batch=2)


@torch.no_grad()
@pytest.mark.parametrize("tree_net", ["region", "region, unsure"], indirect=True)
@pytest.mark.parametrize("nodes", ["boxes", "detections"])
def test_what_a_tree_finds(tree_net, nodes):
    made = model(tree_net, None, nodes, thresh=0.25)
    results = checking.check(tree_net, made, nodes, None, programs=["onnxruntime"])
    assert nodes == "detections" or results["onnxruntime"] < 1e-5
    x = torch.from_numpy(checking.images(tree_net, 2))
    found = checking.listed(tree_net, tree_net(x))
    assert len(set(found[:, 6])) > 5 and 8 < len(found) < 120


RECURRENT = {
    "rnn": conv(4, 3, 4) + "[rnn]\noutput=5\nhidden=6\nshortcut=1\nlogistic=1\nactivation=tanh\n",
    "gru": conv(4, 3, 4) + "[gru]\noutput=5\n",
    "lstm": conv(4, 3, 4) + "[lstm]\noutput=5\nbatch_normalize=1\n",
    "crnn": conv(4, 3, 4) + "[crnn]\nbatch_normalize=1\nsize=3\npad=1\noutput=5\nhidden=6\n"
    "activation=leaky\n" + conv(4),
    "conv_lstm": conv(4, 3, 4) + "[conv_lstm]\nbatch_normalize=1\nsize=3\npad=1\noutput=5\n"
    "peephole=1\nstate_constrain=1\n" + conv(14, act="linear") + YOLO,
    "history": conv(4, 3, 4) + "[history]\nhistory_size=3\n" + conv(3),
    "several": conv(4, 3, 4) + "[history]\nhistory_size=1\n[crnn]\nsize=3\npad=1\noutput=3\n"
    "hidden=2\nxnor=1\n[conv_lstm]\nsize=3\npad=1\noutput=4\nlstm_activation=leaky\n",
}


@torch.no_grad()
@pytest.mark.parametrize("batch", [2, None])
@pytest.mark.parametrize("name", RECURRENT)
def test_a_state_goes_in_and_out(name, batch):
    """Against the network in float64, image after image."""
    net = settled(Network(parse(NET + RECURRENT[name])))
    made = model(net, batch)
    run = checking.opened(checking.onnxruntime, made)
    exact = net.fused().double()
    seen = []
    for _ in range(4):
        x = torch.rand(2, *net.input_shape)
        outputs = run(x.numpy())
        with backend("torch"):
            wanted = exact(x.double())
        for y, target in zip(outputs, wanted, strict=True):
            error = (torch.from_numpy(y).double() - target).norm() / target.norm()
            assert error <= 1e-5, f"relative L2 {error:.2e}"
        seen.append(outputs[0])
    states = [i.name for i in made.graph.input[1:]]
    assert states and json.loads(facts_of(made)["states"]) == {s: f"next_{s}" for s in states}
    once = checking.opened(checking.onnxruntime, made, lasts=False)(x.numpy())
    assert abs(once[0] - seen[-1]).max() > 1e-4  # what came before counts
    assert checking.check(net, made, "heads", batch, programs=["onnxruntime"])["onnxruntime"] < 1e-5


def facts_of(made):
    return {p.key: p.value for p in made.metadata_props}


def test_every_layer_and_activation_has_a_form():
    classes = {type(layer).__name__ for layer in every_layer()}
    assert classes == set(LAYERS)
    assert set(ACTIVATIONS) == set(ops.ACTIVATIONS)


def every_layer():
    """One of each class of layers that a cfg can make."""
    for name in BUILDERS:
        yield smallest(name)
    yield smallest("convolutional", "xnor=1\n")
    yield smallest("maxpool", "antialiasing=1\n")


HEADS = ["heads", "region", "gaussian", "detection"]


@torch.no_grad()
@pytest.mark.parametrize("name", HEADS)
def test_boxes_are_those_that_the_heads_decode(name):
    net = settled(Network(parse(NET + BODIES[name])))
    x = torch.rand(3, *net.input_shape)
    made = model(net, batch=None, nodes="boxes")
    session = onnxruntime.InferenceSession(made.SerializeToString())
    boxes, scores = map(torch.from_numpy, session.run(["boxes", "scores"], {"images": x.numpy()}))
    decoded = [
        net.layers[index].decode(output, net.input_shape[1:])
        for index, output in zip(net.heads, in_float64(net, x), strict=True)
    ]
    centre = torch.cat([d[0] for d in decoded], 1)
    low, high = centre[..., :2] - centre[..., 2:] / 2, centre[..., :2] + centre[..., 2:] / 2
    wanted = torch.cat([low, high], 2), torch.cat([d[1][..., None] * d[2] for d in decoded], 1)
    assert boxes.shape == wanted[0].shape and scores.shape == wanted[1].shape
    torch.testing.assert_close(boxes.double(), wanted[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores.double(), wanted[1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_detections_are_the_boxes_left_after_suppression():
    net = settled(Network(parse(NET + BODIES["heads"])))
    x = torch.rand(2, *net.input_shape)
    made = model(net, batch=None, nodes="detections", thresh=0.2, nms=0.3)
    data = made.SerializeToString()
    (found,) = onnxruntime.InferenceSession(data).run(None, {"images": x.numpy()})
    session = onnxruntime.InferenceSession(model(net, None, "boxes").SerializeToString())
    boxes, scores = map(torch.from_numpy, session.run(None, {"images": x.numpy()}))
    wanted = []
    for image in range(2):
        for label in range(2):
            standing = []
            for i in scores[image, :, label].argsort(descending=True).tolist():
                if scores[image, i, label] > 0.2 and all(
                    iou(boxes[image, i], boxes[image, j]) <= 0.3 for j in standing
                ):
                    standing.append(i)
            wanted += [
                [image, *boxes[image, i].tolist(), scores[image, i, label].item(), label]
                for i in standing
            ]
    assert 2 < len(wanted) < scores.numel()  # some were suppressed, some were not
    assert len(found) == len(wanted)
    for a, b in zip(sorted(found.tolist()), sorted(wanted), strict=True):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-6)


def iou(a, b):
    sides = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0)
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return sides.prod() / (sum(areas) - sides.prod())


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_older_and_newer_operators(opset):
    net = settled(Network(parse(NET + BODIES["activations"] + BODIES["over channels"])))
    made = model(net, opset=opset)
    assert [o.version for o in made.opset_import] == [opset]
    session = onnxruntime.InferenceSession(made.SerializeToString())
    x = torch.rand(1, *net.input_shape)
    (y,) = session.run(None, {"images": x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(y), net(x)[0], rtol=1e-3, atol=1e-4)


def test_metadata_says_how_to_feed_it():
    net = settled(Network(parse(NET.replace("batch=1", "batch=1\nletter_box=1") + BODIES["heads"])))
    net.names = ["cat", "dog"]
    facts = {p.key: p.value for p in model(net, metadata={"data": "pets"}).metadata_props}
    assert facts["resize"] == "letterbox" and facts["scale"] == "1/255" and facts["data"] == "pets"
    assert json.loads(facts["names"]) == ["cat", "dog"]
    assert json.loads(facts["anchors"])["2"] == [[10, 14], [23, 27]]

"""Exported graphs in ONNX Runtime against the network in float64."""

import pytest
import torch

import yolo
from yolo.cfg import parse
from yolo.network import Network
from yolo.ops import backend

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")

from yolo.export.onnx import ExportError, model  # noqa: E402

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
    "connected": conv(8, 3, 4) + "[connected]\noutput=5\nactivation=relu\n",
    "heads": conv(20) + conv(14, 1, act="linear") + YOLO + "[route]\nlayers=-3\n"
    + conv(14, 3, 2, act="linear") + YOLO + "new_coords=1\n",
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
    with backend("torch"):
        expected = net.fused().double()(x.double())
    assert [y.name for y in session.get_outputs()] == [f"head_{i}" for i in net.heads]
    for y, wanted in zip(outputs, expected, strict=True):
        assert y.shape == wanted.shape
        error = (torch.from_numpy(y).double() - wanted).norm() / wanted.norm()
        assert error <= 1e-5, f"relative L2 {error:.2e}"


@pytest.mark.parametrize("name", BODIES)
def test_model_computes_the_network(name):
    check(settled(Network(parse(NET + BODIES[name]))), batch=2)


@pytest.mark.parametrize("name", ["yolov4-tiny", "yolov3-tiny"])
def test_shipped_cfg(name, cfg_folder):
    check(settled(yolo.load(cfg_folder / f"{name}.cfg").resize(96, 64)), batch=1)


@pytest.mark.parametrize(
    "body", ["[reorg3d]\nstride=2\n", "[upsample]\nstride=-2\n", "[activation]\nactivation=selu\n"]
)
def test_layer_without_onnx_form_is_an_error_that_names_it(body):
    with pytest.raises(ExportError, match="layer 1"):
        model(Network(parse(NET + conv(4) + body)))

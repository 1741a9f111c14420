"""Darknet's tools: what each must leave unchanged, measured at the outputs."""

import numpy as np
import pytest
import torch

import yolo
from yolo import weights
from yolo.__main__ import main
from yolo.cfg import parse, read
from yolo.network import Network
from yolo.weights import WeightsError, tools

TEXT = """[net]
width=8
height=8
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
activation=leaky
[convolutional]
filters=6
groups=2
activation=linear
[batchnorm]
[connected]
output=5
batch_normalize=1
[crnn]
output=2
hidden=3
size=1
batch_normalize=1
"""


def network(text=TEXT, seed=0):
    net = Network(parse(text, "small.cfg"), seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        low = 0.5 if name.endswith(("scale", "rolling_var")) else -1
        tensor.data.uniform_(low, 1.5, generator=generator)
    return net


@pytest.fixture
def x():
    return torch.rand(2, 3, 8, 8)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "small.cfg").write_text(TEXT)
    weights.save(network(), tmp_path / "a.weights")
    return str(tmp_path / "small.cfg"), str(tmp_path / "a.weights"), str(tmp_path / "out.weights")


def outputs(net, x):
    with torch.no_grad():
        net.reset_state()
        return net.eval()(x)[0]


def test_reset_keeps_the_outputs(x):
    net = network()
    before = outputs(net, x)
    tools.reset(net)
    torch.testing.assert_close(outputs(net, x), before, rtol=1e-4, atol=1e-5)
    for layer in (net.layers[0], net.layers[3], net.layers[4].of_state):
        assert torch.equal(layer.scale, torch.ones_like(layer.scale))
        assert not layer.rolling_mean.any()


def test_fuse_keeps_the_outputs_without_any_norm_in_convolutions(x):
    net = network()
    plain = tools.fuse(net)
    torch.testing.assert_close(outputs(plain, x), outputs(net, x), rtol=1e-4, atol=1e-5)
    names = [name for name, _ in plain.named_parameters() if name.endswith("scale")]
    assert names == ["layers.2.scale"]  # of [batchnorm] itself


@pytest.mark.parametrize("normalise", [0, 1])
def test_rescale_takes_inputs_of_another_range(x, normalise):
    net = network(TEXT.replace("batch_normalize=1", f"batch_normalize={normalise}", 1))
    wanted = outputs(net, 2 * x - 1)
    tools.rescale(net)
    torch.testing.assert_close(outputs(net, x), wanted, rtol=1e-4, atol=1e-5)


def test_rgbgr_swaps_red_and_blue(x):
    net = network()
    wanted = outputs(net, x)
    tools.rgbgr(net)
    torch.testing.assert_close(outputs(net, x.flip(1)), wanted)


def test_average(tmp_path):
    nets = [network(seed=n) for n in range(3)]
    for n, net in enumerate(nets):
        net.seen = 10 * (n + 1)
        weights.save(net, tmp_path / f"{n}.weights")
    net = network(seed=9)
    tools.average(net, [tmp_path / f"{n}.weights" for n in range(3)])
    stored = [np.stack([t.detach().numpy() for t in group]).mean(0) for group in zip(
        *[[t for layer in one.layers for t in layer.stored()] for one in nets], strict=True
    )]  # fmt: skip
    for ours, wanted in zip(tools._stored(net), stored, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), wanted, rtol=1e-6, atol=1e-7)
    assert net.seen == 10


def test_tools_of_a_first_layer_need_one(x):
    net = network(TEXT.replace("channels=3", "channels=2"))
    with pytest.raises(WeightsError, match="a convolution of 3 channels is needed"):
        tools.rescale(net)
    with pytest.raises(WeightsError, match=r"the first layer is \[maxpool\]"):
        tools.rgbgr(network("[net]\nwidth=8\nheight=8\nchannels=3\n[maxpool]\nsize=2\n[conv]"))


@pytest.mark.parametrize("tool", ["rescale", "rgbgr", "reset"])
def test_commands_that_change(files, x, tool):
    cfg, file, out = files
    assert main(["weights", tool, cfg, file, out]) == 0
    net = network()
    getattr(tools, tool)(net)
    torch.testing.assert_close(outputs(yolo.load(cfg, out), x), outputs(net, x))


def test_command_fuse(files, x, tmp_path):
    cfg, file, out = files
    out_cfg = str(tmp_path / "plain.cfg")
    assert main(["weights", "fuse", cfg, file, out, out_cfg]) == 0
    plain = yolo.load(out_cfg, out, strict=True)
    torch.testing.assert_close(outputs(plain, x), outputs(network(), x), rtol=1e-4, atol=1e-5)
    assert not any(section.has("batch_normalize") and "batch_normalize=1" in str(section.items())
                   for section in read(out_cfg))  # fmt: skip


def test_command_partial(files, capsys):
    cfg, file, out = files
    assert main(["weights", "partial", cfg, file, out, "2"]) == 0
    net = Network(read(cfg), seed=8)
    assert weights.load(net, out) == 2
    assert torch.equal(net.layers[1].weight, network().layers[1].weight) and net.seen == 0
    assert main(["weights", "partial", cfg, file, out, "9"]) == 1
    assert main(["weights", "partial", cfg, out, file + "2", "4"]) == 1
    assert "ends after layer 1" in capsys.readouterr().err


def test_command_average(files, x):
    cfg, file, out = files
    assert main(["weights", "average", cfg, out, file, file]) == 0
    torch.testing.assert_close(outputs(yolo.load(cfg, out), x), outputs(network(), x))

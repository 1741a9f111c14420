"""[convolutional] against torch.nn.functional in float64."""

import pytest
import torch
import torch.nn.functional as F

from yolo.cfg import CfgError
from yolo.ops import ACTIVATIONS

CASES = {
    "size=3 pad=1": {"padding": 1},
    "size=1": {},
    "size=3 stride=2 pad=1": {"padding": 1, "stride": 2},
    "size=5 padding=1": {"padding": 1},
    "size=3 pad=1 stride_x=2": {"padding": 1, "stride": (1, 2)},
    "size=3 pad=1 stride=3 stride_y=2": {"padding": 1, "stride": (2, 3)},
    "size=3 pad=1 dilation=2": {"padding": 2, "dilation": 2},
    "size=3 dilation=2": {"dilation": 2},
    "size=3 padding=2 dilation=3": {"padding": 6, "dilation": 3},
    "size=1 dilation=2": {},
    "size=3 pad=1 groups=2": {"padding": 1, "groups": 2},
    "size=3 pad=1 groups=4": {"padding": 1, "groups": 4},
    "size=2 stride=2 pad=1": {"padding": 1, "stride": 2},
}


def text(keys, activation="linear", norm=0):
    lines = keys.replace(" ", "\n")
    return f"[convolutional]\nfilters=8\nbatch_normalize={norm}\nactivation={activation}\n{lines}"


@pytest.mark.parametrize("training", [False, True], ids=["test", "train"])
@pytest.mark.parametrize("keys", CASES)
def test_equals_torch_with_bias(layer, image, keys, training):
    conv = layer(text(keys), (4, 9, 7)).train(training)
    x = image(2, 4, 9, 7)
    expected = F.conv2d(x, conv.weight, conv.bias, **CASES[keys])
    torch.testing.assert_close(conv(x), expected)
    assert conv.out_shape == tuple(expected.shape[1:])


@pytest.mark.parametrize("training", [False, True], ids=["test", "train"])
@pytest.mark.parametrize("keys", CASES)
def test_equals_torch_with_batch_norm(layer, image, keys, training):
    conv = layer(text(keys, "leaky", norm=1), (4, 9, 7)).train(training)
    mean, var = conv.rolling_mean.clone(), conv.rolling_var.clone()
    x = image(2, 4, 9, 7)
    z = F.conv2d(x, conv.weight, None, **CASES[keys])
    z = F.batch_norm(z, mean, var, conv.scale, conv.bias, training, 0.01, 1e-5)
    torch.testing.assert_close(conv(x), F.leaky_relu(z, 0.1))
    torch.testing.assert_close(conv.rolling_mean, mean)
    torch.testing.assert_close(conv.rolling_var, var)


@pytest.mark.parametrize("norm", [0, 1], ids=["bias", "norm"])
@pytest.mark.parametrize("keys", ["size=3 pad=1", "size=3 pad=1 groups=2 stride=2"])
def test_gradients(layer, image, keys, norm):
    conv = layer(text(keys, "mish", norm), (2, 5, 4)).train()
    parameters = list(conv.parameters())

    def run(x, *_):
        for name, buffer in list(conv.named_buffers()):
            setattr(conv, name, buffer.clone())  # training changes them in place
        return conv(x)

    x = image(2, 2, 5, 4).requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *parameters), atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("training", [False, True], ids=["test", "train"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_runs(layer, image, activation, training):
    conv = layer(text("size=3 pad=1", activation, norm=1)).train(training)
    x = image(2, 3, 8, 8).requires_grad_()
    y = conv(x)
    y.sum().backward()
    assert y.isfinite().all() and x.grad.isfinite().all() and conv.weight.grad.isfinite().all()


def test_literal_neighbours(layer):
    conv = layer("[conv]\nsize=3\npad=1\nactivation=linear", (1, 3, 3)).eval()
    conv.weight.data.fill_(1)
    conv.bias.data.fill_(0.5)
    y = conv(torch.ones(1, 1, 3, 3, dtype=torch.float64))
    expected = torch.tensor([[4.5, 6.5, 4.5], [6.5, 9.5, 6.5], [4.5, 6.5, 4.5]])
    torch.testing.assert_close(y[0, 0], expected.double())


def test_default_activation_is_logistic(layer, image):
    conv = layer("[conv]\nfilters=2").eval()
    x = image(1, 3, 8, 8)
    torch.testing.assert_close(conv(x), torch.sigmoid(F.conv2d(x, conv.weight, conv.bias)))


def test_fused_equals_unfused(layer, image):
    conv = layer(text("size=3 pad=1 groups=2", "swish", norm=1), (4, 9, 7)).eval()
    x = image(2, 4, 9, 7)
    expected = conv(x)
    conv.fuse()
    torch.testing.assert_close(conv(x), expected)
    assert [name for name, _ in conv.named_parameters()] == ["weight", "bias"]


def test_order_in_the_file(layer):
    conv = layer(text("size=3", norm=1))
    wanted = [conv.bias, conv.scale, conv.rolling_mean, conv.rolling_var, conv.weight]
    assert all(a is b for a, b in zip(conv.stored(), wanted, strict=True))


def test_initial_values(layer):
    conv = layer("[conv]\nfilters=64\nsize=3\ngroups=2\nbatch_normalize=1", (16, 8, 8))
    conv.reset_parameters(torch.Generator().manual_seed(3))
    bound = (2 / (3 * 3 * 8)) ** 0.5
    assert conv.weight.abs().max() <= bound
    assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_flops_and_table(layer):
    conv = layer(
        "[conv]\nfilters=8\nsize=3\nstride_x=2\nstride_y=1\npad=1\ndilation=2\ngroups=2", (4, 8, 8)
    )
    assert conv.flops() == 2 * 8 * 2 * 9 * 8 * 4
    assert conv.describe() == ("8/2", "3 x 3 / 2x1(2)")
    assert conv.window() == (5, 2)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("groups=2", "must divide the 3 channels"),
        ("filters=5\ngroups=3", "and the 5 filters"),
        ("size=9", "larger than the padded input"),
        ("filters=0", "must be at least 1"),
        ("stride=0", "must be at least 1"),
        ("activation=leeky", "did you mean 'leaky'"),
        ("sway=1", "sway is not available"),
        ("filters=1000000000", "4,000,000,000 parameters"),
        ("padding=1000000\nsize=1", "elements for one image"),
    ],
)
def test_refusals_name_the_line(build, line, words):
    with pytest.raises(CfgError, match=words) as caught:
        build(f"[conv]\n{line}\n")
    assert str(caught.value).startswith("test.cfg:")


def test_keys_of_other_programs_may_stand_as_zero(layer):
    layer("[conv]\nxnor=0\nantialiasing=0\nassisted_excitation=0\nstream=0\nsway=0\nangle=15")

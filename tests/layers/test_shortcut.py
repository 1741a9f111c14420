"""[shortcut]: sums, weights and their normalisation."""

import pytest
import torch
import torch.nn.functional as F

from yolo.cfg import CfgError
from yolo.ops import packed

THREE = "[conv]\nfilters=4\n[conv]\nfilters=6\n[conv]\nfilters=5\n"


def test_plain_sum(layer, image):
    shortcut = layer("[conv]\nfilters=4\n[conv]\nfilters=4\n[shortcut]\nfrom=-2\nactivation=leaky")
    a, b = image(2, 4, 8, 8), 2 * image(2, 4, 8, 8) - 1
    torch.testing.assert_close(shortcut(a, b), F.leaky_relu(a + b, 0.1))


def test_channels_that_a_source_lacks_pass(layer, image):
    shortcut = layer(THREE + "[shortcut]\nfrom=0,1")
    x, four, six = image(2, 5, 8, 8), image(2, 4, 8, 8), image(2, 6, 8, 8)
    expected = x.clone()
    expected[:, :4] += four
    expected += six[:, :5]
    torch.testing.assert_close(shortcut(x, four, six), expected)


def share(weights, kind):
    if kind == "none":
        return weights
    positive = weights.clamp(min=0.001)
    if kind == "softmax":
        positive = (weights - weights.max(0).values).exp()
    return positive / (positive.sum(0) + 1e-4)


@pytest.mark.parametrize("kind", ["none", "relu", "avg_relu", "softmax"])
@pytest.mark.parametrize("width", ["per_feature", "per_layer", "per_channel"])
def test_weights(layer, image, kind, width):
    shortcut = layer(
        f"{THREE}[shortcut]\nfrom=0,1\nweights_type={width}\nweights_normalization={kind}"
    )
    inputs = image(2, 5, 3, 3), image(2, 4, 3, 3), image(2, 6, 3, 3)
    weight = shortcut.weight.detach().view(3, -1)
    assert weight.shape[1] == (5 if width == "per_channel" else 1)
    a = share(weight, kind).expand(3, 5)[:, None, :, None, None]
    expected = a[0] * inputs[0]
    expected[:, :4] += a[1, :, :4] * inputs[1]
    expected += a[2] * inputs[2][:, :5]
    torch.testing.assert_close(shortcut(*inputs), expected)


def test_gradients_of_the_inputs(layer, image):
    shortcut = layer(
        THREE + "[shortcut]\nfrom=0,1\nweights_type=per_channel\nweights_normalization=softmax"
    )
    inputs = [image(1, c, 2, 2).requires_grad_() for c in (5, 4, 6)]
    assert torch.autograd.gradcheck(shortcut, inputs)


def test_gradient_of_the_weights_skips_the_normalisation(layer, image):
    shortcut = layer(
        "[conv]\n[conv]\n[shortcut]\nfrom=0\nweights_type=per_feature\n"
        "weights_normalization=softmax"
    )
    a, b = image(2, 1, 8, 8), image(2, 1, 8, 8) + 1
    shortcut(a, b).sum().backward()
    torch.testing.assert_close(shortcut.weight.grad, torch.stack([a.sum(), b.sum()]))


def test_weights_begin_at_one_and_are_stored(build):
    net = build("[conv]\n[conv]\n[shortcut]\nfrom=0\nweights_type=per_channel")
    assert [t.numel() for t in net.layers[2].stored()] == [2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs the key 'from'"),
        ("from=-3", "points before the first layer"),
        ("from=0\nweights_type=per_pixel", "is not known"),
        ("from=0\nweights_normalization=sum", "is not known"),
    ],
)
def test_refusals(build, text, words):
    with pytest.raises(CfgError, match=words):
        build(f"[conv]\n[conv]\n[shortcut]\n{text}")


def test_every_second_pixel_of_a_source_twice_as_large(layer, image):
    text = "[conv]\nfilters=4\n[conv]\nfilters=6\nsize=2\nstride=2\n[shortcut]\nfrom=0"
    module = layer(text, (3, 6, 4))
    x = image(2, 6, 3, 2).requires_grad_()
    source = image(2, 4, 6, 4).requires_grad_()
    y = module(x, source)
    torch.testing.assert_close(y[:, :4], x[:, :4] + source[:, :, ::2, ::2])
    torch.testing.assert_close(y[:, 4:], x[:, 4:])
    assert torch.autograd.gradcheck(module, (x, source))


def test_packed_stages_are_the_planar_ones(layer, image):
    text = "[conv]\nfilters=32\n[conv]\nfilters=40\nsize=2\nstride=2\n[shortcut]\nfrom=0\n"
    module = layer(text + "activation=leaky", (3, 6, 4))
    x, source = image(2, 40, 3, 2).float(), image(2, 32, 6, 4).float()
    assert module.packs
    ours = module(packed.pack(x - 0.5), packed.pack(source - 0.5))
    assert isinstance(ours, packed.Packed)
    torch.testing.assert_close(ours.planar(), module(x - 0.5, source - 0.5))


@pytest.mark.parametrize("stride", ["stride=3", "stride_x=2\nstride_y=1"])
def test_sizes_must_agree_or_be_a_multiple(build, stride):
    with pytest.raises(CfgError, match="whose height and width differ"):
        build(f"[conv]\n[conv]\n{stride}\n[shortcut]\nfrom=0", (3, 8, 8))

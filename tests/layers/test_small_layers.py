"""Layers of a line or two: avgpool, upsample, reorg, batchnorm, activation, dropout, sam, ..."""

import pytest
import torch
import torch.nn.functional as F

from yolo.cfg import CfgError
from yolo.ops import ACTIVATIONS

PLAIN = {
    "avgpool": ("[avgpool]", lambda x: x.mean((2, 3), keepdim=True)),
    "upsample": ("[upsample]", lambda x: F.interpolate(x, scale_factor=2)),
    "upsample, scaled": (
        "[upsample]\nstride=3\nscale=0.5",
        lambda x: 0.5 * x.repeat_interleave(3, 2).repeat_interleave(3, 3),
    ),
    "upsample, negative": (
        "[upsample]\nstride=-2\nscale=3",
        lambda x: 3 * 4 * F.avg_pool2d(x, 2),
    ),
    "reorg3d": ("[reorg3d]\nstride=2", lambda x: space_to_depth(x, 2)),
    "activation": ("[activation]\nactivation=logistic", torch.sigmoid),
    "activation, linear": ("[activation]", lambda x: x),
    "activation, mish": ("[activation]\nactivation=mish", F.mish),
    "activation, swish": ("[activation]\nactivation=swish", F.silu),
    "dropout in a test": ("[dropout]\nprobability=.5", lambda x: x),
}


def space_to_depth(x, s):
    """Channel (row in block, column in block, input channel)."""
    return torch.cat([x[:, :, i::s, j::s] for i in range(s) for j in range(s)], 1)


@pytest.mark.parametrize("name", PLAIN)
def test_value_shape_and_gradient(layer, image, name):
    text, formula = PLAIN[name]
    module = layer(text, (4, 4, 6)).eval()
    x = image(2, 4, 4, 6).requires_grad_()
    torch.testing.assert_close(module(x), formula(x))
    assert module.out_shape == tuple(module(x).shape[1:])
    assert torch.autograd.gradcheck(module, (x,))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_on_its_own(layer, image, activation):
    module = layer(f"[activation]\nactivation={activation}")
    assert module(image(2, 3, 8, 8)).isfinite().all()


def reorg_by_index(x, s):
    """YOLOv2's order, one element at a time, from the layout that Darknet documents."""
    n, c, h, w = x.shape
    flat, out = x.flatten(1), torch.empty_like(x.flatten(1))
    for k in range(c):
        for j in range(h):
            for i in range(w):
                block, channel = divmod(k, c // (s * s))
                column, row = i * s + block % s, j * s + block // s
                large = column + w * s * (row + h * s * channel)
                out[:, i + w * (j + h * k)] = flat[:, large]
    return out.reshape(n, c * s * s, h // s, w // s)


def test_reorg_has_the_old_order(layer, image):
    module = layer("[reorg]\nstride=2", (4, 4, 6))
    x = image(2, 4, 4, 6)
    torch.testing.assert_close(module(x), reorg_by_index(x, 2))


def test_reorg3d_reverse_walks_the_same_map(layer, image):
    module = layer("[reorg3d]\nstride=2\nreverse=1", (16, 2, 3))
    x = image(1, 16, 2, 3)
    y = torch.empty_like(x).flatten()
    for p, value in enumerate(x.flatten()):  # sizes of the output: 4 channels, 4 rows, 6 columns
        k, j, i = p // 24, p // 6 % 4, p % 6
        y[i * 2 + k % 2 + 12 * (j * 2 + k // 2)] = value
    torch.testing.assert_close(module(x), y.view(1, 4, 4, 6))


def test_reorg_reverse(layer, image):
    module = layer("[reorg]\nstride=2\nreverse=1", (4, 4, 6))
    x = image(2, 4, 4, 6)
    assert module.out_shape == (1, 8, 12)
    torch.testing.assert_close(space_to_depth(module(x), 2), x)


@pytest.mark.parametrize("training", [False, True], ids=["test", "train"])
def test_batchnorm(layer, image, training):
    module = layer("[batchnorm]").train(training)
    mean, var = module.rolling_mean.clone(), module.rolling_var.clone()
    x = image(2, 3, 8, 8)
    expected = F.batch_norm(x, mean, var, module.scale, module.bias, training, 0.01, 1e-5)
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(module.rolling_mean, mean)
    assert [t is u for t, u in zip(module.stored(), (module.bias, module.scale), strict=False)]


def test_dropout_in_training(layer):
    module = layer("[dropout]\nprobability=.25", (8, 50, 50)).train()
    x = torch.ones(2, 8, 50, 50, dtype=torch.float64, requires_grad=True)
    y = module(x)
    assert (y == 0).double().mean().item() == pytest.approx(0.25, abs=0.01)
    torch.testing.assert_close(y[y > 0], torch.full_like(y[y > 0], 1 / 0.75))
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())  # the same mask, the same factor


def test_dropout_repeats_with_the_seed(layer, image):
    module, x = layer("[dropout]").train(), image(2, 3, 8, 8)
    torch.manual_seed(5)
    first = module(x)
    torch.manual_seed(5)
    torch.testing.assert_close(module(x), first)


def test_dropout_changes_what_later_layers_read(build):
    net = build("[conv]\n[dropout]\n[dropout]\n[conv]\n[route]\nlayers=0,1\n[shortcut]\nfrom=0\n")
    assert net.layers[4].sources == [2, 2]
    assert net.layers[2].sources == [1]


SCALE = "[conv]\nfilters=4\n[avgpool]\n[conv]\nfilters=4\n[scale_channels]\nfrom=0\n"


def test_scale_channels(layer, image):
    module = layer(SCALE + "activation=relu", (3, 5, 6))
    x, source = image(2, 4, 1, 1), image(2, 4, 5, 6)
    torch.testing.assert_close(module(x, source), F.relu(x * source))
    inputs = x.requires_grad_(), source.requires_grad_()
    assert torch.autograd.gradcheck(module, inputs)


def test_scale_channels_by_pixel(layer, image):
    module = layer("[conv]\nfilters=4\n[conv]\n[scale_channels]\nfrom=0\nscale_wh=1", (3, 5, 6))
    x, source = image(2, 1, 5, 6), image(2, 4, 5, 6)
    torch.testing.assert_close(module(x, source), x * source)


def test_sam(layer, image):
    module = layer("[conv]\nfilters=4\n[conv]\nfilters=4\n[sam]\nfrom=-2", (3, 5, 6))
    inputs = image(2, 4, 5, 6).requires_grad_(), (image(2, 4, 5, 6) + 1).requires_grad_()
    torch.testing.assert_close(module(*inputs), inputs[0] * inputs[1])
    assert torch.autograd.gradcheck(module, inputs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[upsample]\nstride=0", "stride must not be 0"),
        ("[upsample]\nstride=-3", "does not divide the input 8 x 8"),
        ("[reorg3d]\nstride=3", "does not divide the input's 8 x 8"),
        ("[reorg3d]\nstride=2\nreverse=1", "needs a multiple of 16 channels, not 3"),
        ("[reorg]\nstride=2", "needs a multiple of 4 channels, not 3"),
        ("[dropout]\nprobability=1", "would leave nothing"),
        ("[dropout]\nprobability=2", "must be at most 1"),
        ("[conv]\nfilters=2\n[conv]\n[scale_channels]\nfrom=0", "needs 2 x 1 x 1"),
        ("[conv]\n[conv]\nfilters=2\n[sam]\nfrom=0", "must have one shape"),
        ("[conv]\n[conv]\n[sam]\nfrom=0,0", "names one layer"),
        ("[activation]\nactivation=logistics", "did you mean 'logistic'"),
    ],
)
def test_refusals(build, text, words):
    with pytest.raises(CfgError, match=words):
        build(text)

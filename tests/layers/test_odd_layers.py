"""[normalization], [local_avgpool], [crop], [implicit], [empty], dropblock."""

import pytest
import torch

from yolo.cfg import CfgError, CfgWarning


@pytest.mark.parametrize(("size", "channels"), [(5, 9), (4, 9), (1, 3), (2, 4), (9, 4), (5, 2)])
def test_normalization_follows_darknets_running_sum(layer, image, size, channels):
    module = layer(f"[lrn]\nsize={size}\nalpha=.02\nbeta=.6\nkappa=2", (channels, 3, 4))
    x = image(2, channels, 3, 4)
    square, sums = x.square(), []
    n = 2 + 0.02 * square[:, : size // 2].sum(1)
    for k in range(channels):
        if k and k + size // 2 < channels:
            n = n + 0.02 * square[:, k + size // 2]
        if k and k - (size - 1) // 2 - 1 >= 0:
            n = n - 0.02 * square[:, k - (size - 1) // 2 - 1]
        sums.append(n)
    torch.testing.assert_close(module(x), x * torch.stack(sums, 1) ** -0.6)


def test_normalization_gradient(layer, image):
    module = layer("[normalization]", (6, 3, 4))
    assert torch.autograd.gradcheck(module, (image(2, 6, 3, 4).requires_grad_(),))


@pytest.mark.parametrize(
    "keys", ["size=3\nstride=1", "size=2\nstride=2", "size=3\nstride=2\npadding=1", "stride=4"]
)
def test_local_avgpool_is_the_mean_of_what_lies_inside(layer, image, keys):
    module = layer(f"[local_avgpool]\n{keys}", (3, 5, 6))
    x = image(2, 3, 5, 6)
    y, before = module(x), module.padding // 2
    assert tuple(y.shape[1:]) == module.out_shape
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            top, left = i * module.stride[0] - before, j * module.stride[1] - before
            rows = slice(max(0, top), top + module.size)
            cols = slice(max(0, left), left + module.size)
            torch.testing.assert_close(y[..., i, j], x[..., rows, cols].mean((2, 3)))
    assert torch.autograd.gradcheck(module, (x.requires_grad_(),))


def test_crop_takes_the_middle(layer, image):
    module = layer("[crop]\ncrop_height=4\ncrop_width=6", (3, 9, 8)).eval()
    x = image(2, 3, 9, 8).requires_grad_()
    torch.testing.assert_close(module(x), 2 * x[:, :, 2:6, 1:7] - 1)
    assert torch.autograd.gradcheck(module, (x,))


def test_crop_in_training_takes_any_part_and_its_mirror_image(layer):
    module = layer("[crop]\ncrop_height=1\ncrop_width=3\nflip=1\nnoadjust=1", (1, 1, 5)).train()
    x = torch.arange(5.0).expand(400, 1, 1, 5)
    seen = {tuple(part.flatten().tolist()) for part in module(x)}
    forward = {(0, 1, 2), (1, 2, 3), (2, 3, 4)}
    assert seen == forward | {part[::-1] for part in forward}


def test_crop_keeps_its_share_when_the_network_is_resized(build):
    net = build("[crop]\ncrop_height=4\ncrop_width=6", (3, 8, 8)).resize(16, 24)
    assert net.layers[0].out_shape == (3, 8, 18)


def test_crop_says_which_keys_do_nothing(layer):
    with pytest.warns(CfgWarning, match=r"\[crop\] saturation has no effect: the data loader"):
        layer("[crop]\ncrop_height=4\ncrop_width=6\nsaturation=1.5\nexposure=1")


def test_implicit_is_the_same_for_every_image(build, image):
    net = build("[conv]\nfilters=4\n[implicit]\nfilters=4\n[scale_channels]\nfrom=0\n", (3, 5, 6))
    conv, implicit, _ = net.layers
    x = image(2, 3, 5, 6)
    torch.testing.assert_close(net(x)[0], conv(x) * implicit.weight[None])
    net(x)[0].sum().backward()
    torch.testing.assert_close(implicit.weight.grad.flatten(), conv(x).sum((0, 2, 3)))
    assert implicit.out_shape == (4, 1, 1)
    assert [t.numel() for t in implicit.stored()] == [4]


def test_implicit_starts_around_its_mean(layer):
    module = layer("[implicit]\nmean=3\nstd=.5\nfilters=300\natoms=2")
    module.reset_parameters(torch.Generator().manual_seed(0))
    assert module.out_shape == (300, 2, 1)
    assert 2.5 <= module.weight.min() < 2.6 and 3.4 < module.weight.max() <= 3.5


@pytest.mark.parametrize("name", ["empty", "silence"])
def test_empty(layer, image, name):
    x = image(2, 3, 8, 8)
    assert torch.equal(layer(f"[{name}]")(x), x)


BLOCKS = "[dropout]\ndropblock=1\nprobability=.5\ndropblock_size_abs=3\n"


def block_layer(build, keys=BLOCKS, iteration=1000, shape=(40, 8, 9)):
    net = build(keys, shape).train()
    net.options.max_batches = 1000
    net.layers[0].grows_until = 850.0
    net.iteration = iteration
    return net.layers[0]


def test_dropblock_drops_one_square_of_a_channel_at_most(build):
    module = block_layer(build)
    x = torch.ones(30, 40, 8, 9, dtype=torch.float64, requires_grad=True)
    y = module(x)
    dropped = y == 0
    cells = dropped.sum((2, 3))
    assert set(cells.unique().tolist()) == {0, 9}
    # a square begins where the least of 72 numbers lies below p / 9
    assert (cells > 0).double().mean().item() == pytest.approx(1 - (1 - 0.5 / 9) ** 72, abs=0.02)
    rows, cols = dropped.any(3).sum(2), dropped.any(2).sum(2)
    assert set(rows.unique().tolist()) == set(cols.unique().tolist()) == {0, 3}
    torch.testing.assert_close(y.mean((1, 2, 3)), torch.ones(30).double())  # each image makes up
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())


@pytest.mark.parametrize(
    ("keys", "iteration", "side"),
    [
        (BLOCKS, 1000, 3),
        (BLOCKS, 600, 2),
        (BLOCKS, 1, 1),
        (BLOCKS.replace("_abs=3", "_rel=.5"), 1000, 4),
        (BLOCKS.replace("_abs=3", "_abs=100"), 1000, 8),
        (BLOCKS.replace("dropblock_size_abs=3\n", ""), 1000, 7),
    ],
)
def test_size_of_a_block(build, keys, iteration, side):
    module = block_layer(build, keys, iteration)
    module.probability = 0.999
    y = module(torch.ones(50, 40, 8, 9))
    assert (y == 0).sum((2, 3)).max() == side**2


def test_dropblock_outside_of_training(layer, image):
    x = image(2, 3, 8, 8)
    assert torch.equal(layer(BLOCKS).eval()(x), x)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[crop]\ncrop_height=9\ncrop_width=2", "crop_height=9, crop_width=2 do not fit"),
        ("[local_avgpool]\nsize=2\npadding=4", "the first windows of size=2 would be empty"),
        ("[local_avgpool]\nsize=20\npadding=0", "is larger than the input 8 x 8"),
    ],
)
def test_refusals(build, text, words):
    with pytest.raises(CfgError, match=words):
        build(text)

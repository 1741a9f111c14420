"""[convolutional] with antialiasing, share_index, xnor, binary, grad_centr; [maxpool] alike."""

import copy

import pytest
import torch
import torch.nn.functional as F

from yolo import weights
from yolo.cfg import CfgError
from yolo.network import Network
from yolo.optimizer import DarknetSGD

CONV = "[conv]\nfilters=4\nsize=3\npad=1\nactivation=tanh\nbatch_normalize=1\n"


def blurred(x, mode, stride):
    if mode == 2:
        return F.avg_pool2d(x, 2, stride)
    row = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype)
    kernel = (row[:, None] * row / 16).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, kernel, None, stride, 1, 1, x.shape[1])


@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("keys", ["stride=2", "stride_x=2\nstride_y=1", "stride=1"])
def test_antialiasing(layer, image, mode, keys):
    module = layer(f"{CONV}{keys}\nantialiasing={mode}", (3, 7, 8)).eval()
    x = image(2, 3, 7, 8).requires_grad_()
    y = F.conv2d(x, module.weight, padding=1)
    statistics = module.rolling_mean, module.rolling_var, module.scale, module.bias
    expected = blurred(F.batch_norm(y, *statistics).tanh(), mode, module.blur_stride)
    torch.testing.assert_close(module(x), expected)
    assert module.out_shape == tuple(expected.shape[1:])
    assert module.flops() == 2 * module.weight.numel() * 7 * 8
    assert torch.autograd.gradcheck(module, (x,))


@pytest.mark.parametrize("mode", [1, 2])
def test_antialiased_pool(layer, image, mode):
    module = layer(f"[maxpool]\nsize=2\nstride=2\nantialiasing={mode}", (3, 8, 6))
    x = image(2, 3, 8, 6).requires_grad_()
    pooled = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-100.0), 2, 1)
    torch.testing.assert_close(module(x), blurred(pooled, mode, 2))
    assert module.out_shape == tuple(module(x).shape[1:])
    assert torch.autograd.gradcheck(module, (x,))


def test_zero_nonmax_keeps_the_peaks(layer, image):
    module = layer("[maxpool]\nsize=3\nmaxpool_zero_nonmax=1")
    x = image(2, 3, 8, 8).requires_grad_()
    y = module(x)
    peaks = F.max_pool2d(x, 3, 1, 1) == x
    torch.testing.assert_close(y, torch.where(peaks, x, 0.0))
    assert 0 < peaks.sum() < x.numel() / 4
    y.sum().backward()
    assert torch.equal(x.grad, peaks.double())


SHARED = f"{CONV}{CONV}{CONV}share_index=-1\n"


def test_shared_weights_are_one_set(build, image):
    net = build(SHARED.replace("[conv]", "[conv]\nstride=1"), (4, 6, 6)).train()
    first, owner, sharing = net.layers
    assert list(sharing.parameters()) == [] and list(sharing.stored()) == []
    assert len(list(net.parameters())) == 6
    sharing(owner(image(2, 4, 6, 6))).sum().backward()
    assert owner.weight.grad.abs().sum() > 0 and first.weight.grad is None
    before = owner.weight.detach().clone()
    DarknetSGD(net).step(0.1)
    assert not torch.equal(owner.weight, before)


def test_shared_weights_stay_shared_in_copies_and_files(build, tmp_path, image):
    net = build(SHARED, (4, 6, 6)).eval()
    twin = copy.deepcopy(net)
    assert twin.layers[2].owner is twin.layers[1]
    x = image(1, 4, 6, 6)
    y = net(x)
    torch.testing.assert_close(net.fused()(x), y)
    weights.save(net, tmp_path / "a.weights")
    other = Network(net.sections, seed=5)
    weights.load(other, tmp_path / "a.weights")
    torch.testing.assert_close(other.eval()(x.float())[0], y[0].float(), rtol=1e-4, atol=1e-5)


def signs(x):
    return torch.where(x > 0, 1.0, -1.0).double()


def test_xnor_counts_equal_signs(layer, image):
    module = layer("[conv]\nfilters=4\nsize=3\npad=1\nactivation=linear\nxnor=1").eval()
    x = image(2, 3, 8, 8)
    inputs = F.pad(signs(x), [1] * 4, value=-1.0)
    same = (F.conv2d(inputs, signs(module.weight)) + 27) / 2  # how many of 27 bits agree
    mean = module.weight.abs().mean((1, 2, 3))
    expected = (2 * same - 27) * mean.view(1, 4, 1, 1) + module.bias.view(1, 4, 1, 1)
    torch.testing.assert_close(module(x), expected)


def test_xnor_trains_the_real_weights(layer, image):
    module = layer("[conv]\nfilters=4\nsize=3\npad=1\nactivation=linear\nxnor=1").train()
    x = image(2, 3, 8, 8).requires_grad_()
    binary = (signs(module.weight) * module.weight.abs().mean((1, 2, 3), keepdim=True)).detach()
    binary, inputs = binary.requires_grad_(), signs(x).detach().requires_grad_()
    expected = F.conv2d(inputs, binary, module.bias, padding=1)
    y = module(x)
    torch.testing.assert_close(y, expected)
    grad = image(*y.shape)
    y.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(module.weight.grad, binary.grad)
    torch.testing.assert_close(x.grad, inputs.grad * (x.abs() < 1))


def test_binary_weights(layer, image):
    module = layer("[conv]\nfilters=4\nsize=3\nactivation=linear\nbinary=1").eval()
    x = image(2, 3, 8, 8)
    weight = signs(module.weight) * module.weight.abs().mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(module(x), F.conv2d(x, weight, module.bias))


@pytest.mark.parametrize("key", ["xnor", "binary"])
def test_folding_keeps_binary_weights(build, image, key):
    net = build(f"{CONV}{key}=1\n").eval()
    x = image(2, 3, 8, 8)
    torch.testing.assert_close(net.fused()(x), net(x))


def test_centred_gradients(layer, image):
    text = CONV.replace("size=3", "size=4")
    module, plain = layer(text + "grad_centr=1", (2, 8, 8)), layer(text, (2, 8, 8))
    plain.load_state_dict(module.state_dict())
    x = image(2, 2, 8, 8)
    for one in (module.train(), plain.train()):
        one(x).square().sum().backward()
    grad = plain.weight.grad
    torch.testing.assert_close(module.weight.grad, grad - grad.mean((1, 2, 3), keepdim=True))


def test_gradients_of_other_lengths_are_left_alone(layer, image):
    module, plain = layer(CONV + "grad_centr=1"), layer(CONV)  # 27 values a filter
    plain.load_state_dict(module.state_dict())
    for one in (module.train(), plain.train()):
        one(image(2, 3, 8, 8)).square().sum().backward()
    torch.testing.assert_close(module.weight.grad, plain.weight.grad)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CONV + "share_index=0", "layer 0 is none before this one, 0"),
        (f"{CONV}{CONV}share_index=-1", "is no convolution with the same filters"),
        (f"[avgpool]\n{CONV}share_index=0", r"layer 0 \[avgpool\] is no convolution"),
        (CONV + "xnor=1\ndilation=2", "xnor=1 knows no dilation"),
        ("[maxpool]\nstride=2\nmaxpool_zero_nonmax=1", "stride=1"),
        ("[maxpool]\nmaxpool_depth=1\nantialiasing=1", "does not go with maxpool_depth"),
    ],
)
def test_refusals(build, text, words):
    with pytest.raises(CfgError, match=words):
        build(text)

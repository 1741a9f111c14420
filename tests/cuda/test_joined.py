"""grad_x with the sums that the normalisation before it needs, beside the passes of their own."""

import pytest
import torch
import torch.nn.functional as F

from tests.micro_net import HEAD
from yolo import cfg, ops
from yolo.network import Network
from yolo.ops.cuda import Kernels
from yolo.ops.cuda.structs import GRAD_X
from yolo.ops.formulas import FORMULAS
from yolo.ops.precision import precision
from yolo.ops.shapes import conv_shape

LIMITS = {torch.bfloat16: 6e-3, torch.float16: 1e-3, torch.float32: 1e-3}
# n, c, h, w, k, size, stride, padding, groups: several tiles, parts without taps, odd channels,
# channels over 64, groups of whole chunks and of less
SHAPES = [
    (2, 40, 13, 9, 24, 3, 1, 1, 1),
    (3, 13, 15, 16, 8, 3, 2, 1, 1),
    (1, 136, 9, 8, 16, 1, 1, 0, 1),
    (1, 8, 12, 11, 8, 1, 2, 0, 1),
    (2, 32, 7, 6, 16, 3, 1, 1, 2),
    (2, 12, 7, 6, 8, 3, 1, 1, 4),
]


def case(shape, dtype, device):
    """(ConvShape, grad_z, weight, other, x, scale, bias, mean, rstd)"""
    n, c, h, w, k, size, stride, padding, groups = shape
    x, weight = torch.randn(n, c, h, w) + 2, torch.randn(k, c // groups, size, size)
    a = conv_shape(x, weight, None, stride, padding, 1, groups)
    maps = torch.randn(n, k, a.p, a.q), weight, torch.randn(n, c, h, w), x
    maps = [t.to(device, dtype) for t in maps]
    var, mean = torch.var_mean(maps[3].double(), (0, 2, 3), correction=0)
    channels = torch.rand(c) + 0.5, torch.randn(c), mean, (var + 1e-5).rsqrt()
    return a, *maps, *(t.to(device, torch.float32) for t in channels)


def exact(a, grad_z, weight, other, x, scale, bias, mean, rstd, activation):
    """(whole gradient at y, grad_x, grad_scale, grad_bias) in float64."""
    grad_z, weight, other, x, scale, bias = (
        t.double().cpu() for t in (grad_z, weight, other, x, scale, bias)
    )
    scale, bias = scale.requires_grad_(), bias.requires_grad_()
    x.requires_grad_()
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    across = (1, -1, 1, 1)
    u = (x - mean) * torch.rsqrt(var + 1e-5) * scale.view(across) + bias.view(across)
    y = torch.where(u > 0, u, 0.1 * u) if activation == "leaky" else FORMULAS[activation][0](u)
    y.retain_grad()
    z = F.conv2d(y, weight, None, a.stride, a.padding, a.dilation, a.groups)
    ((z * grad_z).sum() + (y * other).sum()).backward()
    return y.grad, x.grad, scale.grad, bias.grad


def assert_near(got, wanted, limit):
    assert got.isfinite().all()
    assert (got.double().cpu() - wanted).norm() <= limit * wanted.norm()


def joined(kernels, a, grad_z, weight, other, x, *channels, activation):
    tiles = kernels.implicit_tiles(a, x.device, GRAD_X)
    normed = x, *channels
    whole = kernels.implicit_grad_x(a, grad_z, weight, other, (*normed, activation), tiles)
    return whole, *kernels.norm_act_backward(whole, *normed, True, activation, tiles=tiles)


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_and_sums(machine, kernels, shape, dtype):
    given = case(shape, dtype, machine.device)
    got = joined(kernels, *given, activation="mish")
    for mine, wanted in zip(got, exact(*given, "mish"), strict=True):
        assert_near(mine, wanted, LIMITS[dtype])


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_the_same_bits_in_any_order(machine, any_order, shape):
    given = case(shape, torch.bfloat16, machine.device)
    first, again = (joined(any_order, *given, activation="leaky") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    wanted = exact(*given, "leaky")
    for mine, theirs in zip(first, wanted, strict=True):
        assert_near(mine, theirs, 6e-3)


def test_the_gradient_is_that_without_sums(machine, kernels):
    """Bit for bit, and the sums are those of a pass over it up to rounding."""
    given = case(SHAPES[1], torch.float32, machine.device)
    a, grad_z, weight, _, x, *channels = given
    whole, *grads = joined(kernels, a, grad_z, weight, None, x, *channels, activation="swish")
    assert torch.equal(whole, kernels.implicit_grad_x(a, grad_z, weight))
    wanted = kernels.norm_act_backward(whole, x, *channels, True, "swish")
    for mine, theirs in zip(grads, wanted, strict=True):
        assert_near(mine, theirs.double().cpu(), 1e-5)


def test_many_tiles_are_merged_in_two_steps(machine, kernels):
    tiles = torch.randn(700, 5, 2, device=machine.device)
    x = torch.randn(1, 5, 8, 8, device=machine.device)
    ones, zeros = torch.ones(5, device=x.device), torch.zeros(5, device=x.device)
    channels = ones, zeros, zeros, ones
    _, grad_scale, grad_bias = kernels.norm_act_backward(x, x, *channels, tiles=tiles)
    found = torch.stack([grad_bias, grad_scale], 1).double()
    torch.testing.assert_close(found, tiles.double().sum(0), rtol=1e-5, atol=1e-4)


CHAIN = (
    """
[net]
width=16
height=16
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
pad=1
activation=mish
[convolutional]
batch_normalize=1
filters=8
size=1
activation=leaky
[convolutional]
batch_normalize=1
filters=8
size=3
pad=1
activation=leaky
[shortcut]
from=-3
activation=linear
[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=leaky
[upsample]
stride=2
[route]
layers=3
[convolutional]
batch_normalize=1
filters=5
size=1
activation=mish
[route]
layers=-1,-3
"""
    + HEAD
)


@pytest.fixture
def chain(tmp_path, device):
    path = tmp_path / "chain.cfg"
    path.write_text(CHAIN)
    net = Network(cfg.read(str(path)), seed=2).to(device).train()
    net.layout = "pending"  # also where tensors that stand for the GPU's lie on the CPU
    return net


@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16"])
def test_a_network_learns_with_joined_layers(chain, device, name, monkeypatch):
    """Gradients as the twin's; passes for sums are left where no convolution reads first: before
    the enlargement, and of what is written into the concatenation."""
    x = torch.rand(2, 3, 16, 16, device=device)
    boxes = torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.3]], device=device)
    passes = []
    plain = Kernels.norm_act_backward

    def watched(self, *args, tiles=None, **named):
        passes.append(tiles is None)
        return plain(self, *args, tiles=tiles, **named)

    monkeypatch.setattr(Kernels, "norm_act_backward", watched)

    def gradients():
        chain.zero_grad()
        chain.loss(x, boxes).total.backward()
        return torch.cat([p.grad.flatten() for p in chain.parameters()])

    with precision(name):
        got = gradients()
        assert torch.equal(got, gradients())
    norms = len(passes) // 2 - 1  # the last layer has a bias alone
    assert norms == 5 and sum(passes[1:6]) == (5 if name == "fp32" else 2)
    with ops.backend("torch"):
        wanted = gradients()
    assert torch.cosine_similarity(got, wanted, 0) >= (0.99999 if name == "fp32" else 0.999)

"""Max pools that take their windows from each other, beside each pool alone."""

import pytest
import torch
import torch.nn.functional as F

from tests.micro_net import HEAD
from yolo import cfg, ops
from yolo.network import Network
from yolo.ops.cuda import CudaError, Kernels
from yolo.ops.pool import _twin
from yolo.ops.precision import precision
from yolo.ops.shapes import pool_shape

TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
# odd channels, whole packs of 16 bytes, maps smaller than a window, several tiles
SHAPES = [(2, 5, 9, 8), (1, 16, 6, 11), (3, 8, 3, 1), (1, 72, 5, 9)]
SIZES = (5, 9, 13)


def shape_of(x, size):
    return pool_shape(x.float(), size, 1, size - 1)


def few_values(machine, dtype, *shape):
    """Of which most windows have several largest ones."""
    return torch.randint(-1, 2, shape).relu().to(machine.device, dtype)


def places_of(codes, size):
    """What codes (n, h, w, c) of windows say as places in the map (n, c, h, w), as pool.cu has."""
    codes = codes.permute(0, 3, 1, 2).int()
    height, width = codes.shape[2:]
    rows = torch.arange(height, device=codes.device).view(-1, 1) - size // 2 + codes // 16
    return rows * width + torch.arange(width, device=codes.device) - size // 2 + codes % 16


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_as_each_pool_alone(machine, kernels, shape, dtype):
    """PyTorch's in float64, with the gradient of each and of another reader."""
    x = few_values(machine, dtype, *shape)
    exact = x.double().requires_grad_()
    wanted = [_twin(exact, shape_of(x, size)) for size in SIZES]
    grads = [torch.randint(-9, 9, shape).to(x) for _ in range(4)]
    torch.autograd.backward([*wanted, exact], [g.double() for g in grads])
    ys, codes = kernels.spp_forward(x, SIZES)
    for y, want in zip(ys, wanted, strict=True):
        assert torch.equal(y.double(), want)
    got = kernels.spp_grad_x(grads[:3], codes, SIZES, grads[3])
    assert torch.equal(got.double(), exact.grad)
    without = kernels.spp_grad_x(grads[:3], codes, SIZES)
    assert torch.equal(without.double(), exact.grad - grads[3].double())


@pytest.mark.parametrize("sizes", [SIZES, (3, 3, 15), (13,), (1, 7, 9, 11)])
def test_the_cell_is_that_of_the_pool_alone(machine, any_order, sizes):
    """Also among NaN, infinities and zeros of both signs, in maps that are slices."""
    values = torch.tensor([0.0, -0.0, 1.0, 1.0, float("nan"), float("-inf"), float("inf"), 2.0])
    wide = values[torch.randint(0, 8, (2, 9, 7, 24))].to(machine.device)
    wide[0] = values[torch.randint(0, 3, (9, 7, 24))]
    wide[1, :, :, 8:12] = float("-inf")
    x = wide.permute(0, 3, 1, 2)[:, 8:16]
    room = torch.full((2, 9, 7, 8 * len(sizes) + 8), 7.0, device=x.device).permute(0, 3, 1, 2)
    ys = room.split(8, 1)[: len(sizes)]
    _, codes = any_order.spp_forward(x, sizes, ys)
    for size, y, code in zip(sizes, ys, codes, strict=True):
        want, index = any_order.maxpool_forward(shape_of(x, size), x)
        assert torch.equal(y.contiguous().view(torch.int32), want.contiguous().view(torch.int32))
        assert torch.equal(places_of(code, size), index)
    assert (room[:, -8:] == 7).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_bits_in_any_order(machine, any_order, dtype):
    """Sums are those of autograd over pools one by one, the largest first: in float32 to the bit,
    in 16 bits with one rounding in the end."""
    x = few_values(machine, dtype, 2, 8, 9, 10)
    grads = [torch.randn(2, 8, 9, 10).to(x) for _ in range(4)]
    _, codes = any_order.spp_forward(x, SIZES)
    got = any_order.spp_grad_x(grads[:3], codes, SIZES, grads[3])
    assert torch.equal(got, any_order.spp_grad_x(grads[:3], codes, SIZES, grads[3]))
    total = grads[3].float()
    for size, grad in list(zip(SIZES, grads, strict=False))[::-1]:
        a, wide = shape_of(x, size), x.float()
        _, index = any_order.maxpool_forward(a, wide)
        total = total + any_order.maxpool_grad_x(a, grad.float(), index)
    assert torch.equal(got, total.to(dtype))


def test_without_codes(machine, kernels):
    x = torch.randn(1, 3, 7, 6, device=machine.device)
    (y,), codes = kernels.spp_forward(x, (3,), with_codes=False)
    assert codes is None and torch.equal(y, F.max_pool2d(x, 3, 1, 1))


@pytest.mark.parametrize("sizes", [(), (4,), (5, 3), (17,), (1, 3, 5, 7, 9)])
def test_what_it_does_not_take(machine, kernels, sizes):
    x = torch.randn(1, 2, 5, 5, device=machine.device)
    with pytest.raises(CudaError, match="sizes or strides"):
        kernels.spp_forward(x, sizes)


CONV = """
[convolutional]
batch_normalize=1
filters=8
size=1
activation=relu
"""
POOL = "\n[maxpool]\nstride=1\nsize="
NET = (
    "[net]\nwidth=16\nheight=16\nchannels=3\n" + CONV
    + f"{POOL}5\n[route]\nlayers=-2\n{POOL}9\n[route]\nlayers=-4\n{POOL}13\n"
    + "[route]\nlayers=-1,-3,-5,-6\n" + CONV + f"{POOL}3\n[route]\nlayers=-1,-2\n" + CONV
    + f"{POOL}3\n" + CONV + HEAD
)  # fmt: skip


@pytest.fixture
def net(tmp_path, device):
    path = tmp_path / "spp.cfg"
    path.write_text(NET)
    return Network(cfg.read(str(path)), seed=2).to(device).train()


def test_a_network_learns_the_same(net, device, monkeypatch):
    """Bit for bit as with pools one by one, each with an index; those of an SPP are one call, and
    so is a pool that stands alone."""
    x = torch.rand(2, 3, 16, 16, device=device)
    boxes = torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.3]], device=device)
    calls, plain = [], Kernels.call

    def call(self, name, *given):
        calls.append(name)
        return plain(self, name, *given)

    monkeypatch.setattr(Kernels, "call", call)

    def gradients():
        net.zero_grad()
        net.layout = "pending"
        net.loss(x, boxes).total.backward()
        return torch.cat([p.grad.flatten() for p in net.parameters()])

    with precision("fp32"):
        got = gradients()
        assert "yolo_cuda_maxpool" not in calls and calls.count("yolo_cuda_spp") == 6
        monkeypatch.setattr("yolo.layers.maxpool.spp_pool", ops.maxpool2d)
        wanted = gradients()
    assert calls.count("yolo_cuda_maxpool") == 10
    assert torch.equal(got, wanted)

"""Maps of more than 2^31 values: the last blocks of a launch must find them.

Memory is asked for, and given page by page as it is touched. Of each launch the first and the last
blocks run; the values before the last image, or the last rows, are 0.
"""

import math
import mmap

import pytest
import torch
import torch.nn.functional as F

from yolo.ops.cuda.layout import nhwc
from yolo.ops.shapes import conv_shape, pool_shape

BF16 = torch.bfloat16
SIDE, CHANNELS = 416, 64
IMAGES = math.ceil(2**31 / (SIDE * SIDE * CHANNELS)) + 1
SHAPE = IMAGES, CHANNELS, SIDE, SIDE
ENDS = 18  # so that weights of 64 x 64 x 3 x 3, 36 blocks, are arranged whole
NO_RESERVE = 0x4000  # Linux: pages that are never touched count for nothing


def far(shape, dtype=BF16, strides=None):
    """Zeros, NHWC if nothing else is asked for, in pages of their own."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
    memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, flags)
    return torch.frombuffer(memory, dtype=dtype).as_strided(shape, strides or nhwc(shape))


@pytest.fixture
def ends(machine, kernels, monkeypatch):
    """The kernels, of whose blocks ENDS at each end run, and whose results lie in such memory."""
    if not machine.emulated:
        pytest.skip("all blocks run there")

    def empty(like, shape, dtype=None):
        return far(shape, dtype or like.dtype)

    for room in ("conv", "norm", "pool"):
        monkeypatch.setattr(f"yolo.ops.cuda.{room}.empty_nhwc", empty)
    monkeypatch.setattr(kernels, "room", lambda size, device: far((1, size + 1, 1, 1), torch.uint8))
    machine.library.emulator_set_ends(ENDS)
    yield kernels
    machine.library.emulator_set_ends(0)


def shape_of(x, *weight):
    """ConvShape of "same" padding."""
    sizes = (torch.empty(size, device="meta") for size in (x, weight))
    return conv_shape(*sizes, None, 1, weight[-1] // 2, 1, 1)


def ended(shape=SHAPE):
    """Such a map whose last rows of pixels are random."""
    x = far(shape)
    x[-1, :, -3:] = torch.randn(shape[1], 3, shape[3]).to(BF16)
    return x


def assert_near(got, wanted, limit=6e-3):
    assert (got.double() - wanted).norm() <= limit * wanted.norm()


def test_implicit(ends):
    """A block has 128 pixels."""
    x, weight = ended(), torch.randn(CHANNELS, CHANNELS, 3, 3).to(BF16)
    a = shape_of(SHAPE, *weight.shape)
    last = x[-1:, :, -3:].double()
    y = ends.implicit_forward(a, x, weight)
    assert y.numel() > 2**31
    assert_near(y[-1:, :, -1, -256:], F.conv2d(last, weight.double(), padding=1)[:, :, -1, -256:])
    grad_x = ends.implicit_grad_x(a, x, weight)
    wanted = F.conv_transpose2d(last, weight.double(), padding=1)[:, :, -1, -256:]
    assert_near(grad_x[-1:, :, -1, -256:], wanted)


def test_implicit_grad_weight(machine, ends):
    """26 splits an image; the very last holds all that is not 0."""
    machine.library.emulator_set_ends(1)
    shape = IMAGES * CHANNELS // 8, 8, SIDE, SIDE
    x, grad_y, splits = far(shape), far(shape), 26 * shape[0]
    for t in (x, grad_y):
        t[-1, :, -1] = torch.randn(8, SIDE).to(BF16)
    a = shape_of(shape, 8, 8, 1, 1)
    got = ends.implicit_grad_weight(a, x, grad_y, splits=splits)
    rows = [t[-1, :, -1].double() for t in (grad_y, x)]
    assert_near(got[:, :, 0, 0], rows[0] @ rows[1].T, 1e-5)


def test_stem(ends):
    """Planar images; 8 tiles of 128 pixels a block, of which the last block has the very last."""
    n = math.ceil(2**31 / (3 * SIDE * SIDE) / 8) * 8
    x = far((n, 3, SIDE, SIDE), strides=(3 * SIDE**2, SIDE**2, SIDE, 1))
    x[-1, :, -3:] = torch.randn(3, 3, SIDE).to(BF16)
    weight = torch.randn(32, 3, 3, 3).to(BF16)
    a = shape_of(x.shape, *weight.shape)
    y = ends.stem_forward(a, x, weight)
    wanted = F.conv2d(x[-1:, :, -3:].double(), weight.double(), padding=1)[:, :, -1, -128:]
    assert_near(y[-1:, :, -1, -128:], wanted)


def test_norm_act(ends):
    x, channels = ended(), [torch.rand(CHANNELS) + 0.5 for _ in range(4)]
    scale, bias, mean, rstd = channels
    y, *_ = ends.norm_act_forward(x, scale, bias, mean=mean, rstd=rstd, residual=x)
    across = [t.double().view(-1, 1) for t in channels]
    last = x[-1, :, -1, -32:].double()
    factor = across[0] * across[3]
    assert_near(y[-1, :, -1, -32:], (last - across[2]) * factor + across[1] + last)
    grad_x, *_ = ends.norm_act_backward(x, x, *channels, False, sums=False)
    assert_near(grad_x[-1, :, -1, -32:], last * factor)


def test_pools(ends):
    x = ended()
    a = pool_shape(torch.empty(SHAPE, device="meta"), (2, 2), (2, 2), (0, 0))
    y, index = ends.maxpool_forward(a, x)
    wanted = F.max_pool2d(x[-1, :, -2:].double(), 2)[:, 0, -8:]
    assert torch.equal(y[-1, :, -1, -8:].double(), wanted)
    grad_x = ends.maxpool_grad_x(a, y, index)
    kept = torch.where(x[-1, :, -1, -8:] == wanted.repeat_interleave(2, 1)[:, -8:], 1, 0)
    assert torch.equal(grad_x[-1, :, -1, -8:].double(), (x[-1, :, -1, -8:] * kept).double())
    (y3,), codes = ends.spp_forward(x, (3,))
    last = x[-1:, :, -4:, -16:].double().requires_grad_()
    wanted = F.max_pool2d(last, 3, 1, 1)
    wanted.backward(last.detach())
    assert torch.equal(y3[-1, :, -1, -8:].double(), wanted[0, :, -1, -8:])
    grad_x = ends.spp_grad_x([x], codes, (3,))
    assert_near(grad_x[-1, :, -1, -8:], last.grad[0, :, -1, -8:])
    large = ends.upsample_forward(y, 2)
    assert torch.equal(large[-1, :, -1, -8:], y[-1, :, -1, -4:].repeat_interleave(2, 1))

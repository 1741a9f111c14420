"""Convolution, batch norm and activation over packed tensors, each instruction set, against
float64; outputs and scratch memory are poisoned first."""

import pytest
import torch
import torch.nn.functional as F

from yolo import _C
from yolo.ops import (
    Packed,
    conv_bias_act,
    conv_norm_act,
    layout,
    packed,
    packed_conv,
    packed_memory,
    precision,
    unpack,
)
from yolo.ops.shapes import conv_shape

LEVELS = [name for name, _ in _C.packed.levels()]
LIMIT = {"exact": 5e-6, "fast": 3e-5}
SHAPES = [
    # n, c, k, h, w, size, stride
    (2, 35, 40, 13, 17, 3, 1),
    (3, 64, 32, 26, 26, 3, 1),
    (1, 32, 33, 53, 30, 3, 1),
    (2, 20, 50, 7, 9, 1, 1),
    (1, 130, 17, 19, 21, 1, 1),
    (2, 24, 48, 12, 14, 3, 2),
    (2, 40, 20, 13, 11, 3, 2),
    (4, 16, 16, 1, 3, 3, 2),
    (2, 35, 40, 31, 34, 3, 2),
    (1, 32, 70, 96, 93, 3, 2),
    (6, 64, 32, 16, 15, 3, 2),
]


@pytest.fixture(params=LEVELS)
def level(request, monkeypatch):
    monkeypatch.setenv("YOLO_ISA", request.param)
    return request.param


@pytest.fixture(autouse=True)
def poison(monkeypatch):
    """New memory holds NaN, so that whatever is read before it is written shows."""

    def nan(function):
        return lambda *args, **kwargs: function(*args, **kwargs).fill_(torch.nan)

    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, nan(getattr(torch, name)))
    for name in ("empty", "empty_data"):
        monkeypatch.setattr(packed_memory, name, nan(getattr(packed_memory, name)))

    def workspace(floats):
        return torch.full((floats,), torch.nan)

    monkeypatch.setattr(packed_memory, "workspace", workspace)


def error(got, wanted):
    return float((got.detach().double() - wanted.detach()).norm() / wanted.detach().norm())


def leaves(n, c, k, h, w, size):
    x = torch.randn(n, c, h, w)
    weight = torch.randn(k, c, size, size) / (size * c**0.5)
    return [t.requires_grad_() for t in (x, weight, torch.rand(k) + 0.5, torch.randn(k))]


def doubles(tensors):
    return [t.detach().double().requires_grad_() for t in tensors]


@pytest.mark.parametrize("word", LIMIT)
@pytest.mark.parametrize("n, c, k, h, w, size, stride", SHAPES)
def test_batch_norm(n, c, k, h, w, size, stride, word, level):
    given = leaves(n, c, k, h, w, size)
    rolling = [torch.randn(k), torch.rand(k)]
    exact = [t.double() for t in rolling]
    x, weight, scale, bias = given
    with precision(word):
        y = conv_norm_act(
            packed.pack(x), weight, scale, bias, rolling, True, "mish", stride, size // 2
        )
    assert isinstance(y, Packed)
    y = unpack(y)
    grad_y = torch.randn(y.shape)
    grads = torch.autograd.grad(y, given, grad_y)

    x, weight, scale, bias = twins = doubles(given)
    z = F.conv2d(x, weight, None, stride, size // 2)
    wanted = F.mish(F.batch_norm(z, *exact, scale, bias, True, 0.01, 1e-5))
    expected = torch.autograd.grad(wanted, twins, grad_y.double())
    for got, value in zip((y, *rolling, *grads), (wanted, *exact, *expected), strict=True):
        # a gradient by x or the weight loses digits in the subtraction of its means
        assert error(got, value) <= 2 * LIMIT[word]


@pytest.mark.parametrize("n, c, k, h, w, stride",
    [(2, 35, 40, 13, 17, 1), (1, 32, 32, 87, 90, 1), (1, 100, 70, 50, 46, 1),
     (3, 64, 96, 26, 26, 1), (2, 33, 40, 31, 33, 2), (1, 64, 96, 95, 96, 2),
     (2, 100, 70, 48, 47, 2)])  # fmt: skip
def test_winograd_grad_weight_by_itself(n, c, k, h, w, stride, level):
    """In one chunk of tiles and in several; sums over all pixels, so tighter than a whole layer."""
    shape = conv_shape(torch.empty(n, c, h, w), torch.empty(k, c, 3, 3), None, stride, 1, 1, 1)
    conv = packed_conv._Layer(shape, "linear", False, True, 2).conv
    assert conv.algorithm == ("phases" if stride == 2 else "winograd4")
    x, dy = torch.randn(n, c, h, w), torch.randn(n, k, shape.p, shape.q)
    grad = torch.empty(k, c, 3, 3)
    space = packed_memory.workspace(conv.workspace)
    data = [packed.pack(t).data for t in (x, dy)]
    where = [t.data_ptr() for t in (*data, grad, space)]
    conv.gradients(where[1], where[0], 0, 0, where[2], 0, where[3])
    wanted = torch.nn.grad.conv2d_weight(x.double(), grad.shape, dy.double(), stride, 1)
    assert error(grad, wanted) <= 5e-6


SIDE_BY_SIDE = [
    # n, h, w: images that Winograd lays side by side, across x down
    (1, 13, 21),  # 1 x 1
    (2, 13, 13),  # 1 x 2
    (3, 13, 13),  # 1 x 3
    (6, 13, 13),  # 2 x 3
    (8, 13, 13),  # twice 2 x 2
    (8, 26, 26),  # twice 1 x 4
    (8, 7, 5),  # four times 2 x 1
    (6, 5, 9),  # 3 x 2
    (8, 6, 6),  # twice 1 x 4
    (8, 17, 2),  # 4 x 2: tiles that reach into three images
    (8, 1, 33),  # twice 2 x 2, the same
    (2, 16, 12),  # 1 x 1: they fill their tiles
]


@pytest.mark.parametrize("n, h, w", SIDE_BY_SIDE)
def test_winograd_of_images_side_by_side(n, h, w, level):
    """All three passes of maps whose tiles lie in several images; borders are zero."""
    c, k = 33, 40
    shape = conv_shape(torch.empty(n, c, h, w), torch.empty(k, c, 3, 3), None, 1, 1, 1, 1)
    conv = packed_conv._Layer(shape, "linear", False, True, 2).conv
    assert conv.algorithm == "winograd4"
    x, dy, weight = torch.randn(n, c, h, w), torch.randn(n, k, h, w), torch.randn(k, c, 3, 3)
    data = [packed.pack(t).data for t in (x, dy)]
    y, dx = (packed_memory.empty(n, channels, h, w) for channels in (k, c))
    grad, at = torch.empty_like(weight), weight.data_ptr()
    space = packed_memory.workspace(conv.workspace)
    conv.forward(data[0].data_ptr(), 0, at, y.data_ptr(), space.data_ptr())
    given = data[1].data_ptr(), data[0].data_ptr(), 0, at
    conv.gradients(*given, grad.data_ptr(), dx.data_ptr(), space.data_ptr())
    x, dy, weight = (t.double() for t in (x, dy, weight))
    assert error(unpack(Packed(y, k)), F.conv2d(x, weight, padding=1)) <= 1e-5
    assert error(unpack(Packed(dx, c)), F.conv_transpose2d(dy, weight, padding=1)) <= 1e-5
    wanted = torch.nn.grad.conv2d_weight(x, weight.shape, dy, padding=1)
    assert error(grad, wanted) <= 1e-5
    for data in (y, dx):
        inside = data[:, :, 1:-1, 1:-1].abs().sum(dtype=torch.float64)
        assert data.abs().sum(dtype=torch.float64) == pytest.approx(float(inside), rel=1e-12)


@pytest.mark.parametrize("activation", ["linear", "leaky", "relu", "logistic", "swish", "tanh"])
def test_bias_and_activations(activation, level):
    functions = {
        "linear": lambda x: x,
        "leaky": lambda x: F.leaky_relu(x, 0.1),
        "logistic": torch.sigmoid,
        "swish": F.silu,
    }
    function = functions.get(activation) or getattr(torch, activation)
    x, weight, _, bias = given = leaves(2, 20, 37, 9, 10, 3)
    given = [x, weight, bias]
    y = unpack(conv_bias_act(packed.pack(x), weight, bias, activation, 1, 1))
    grad_y = torch.randn(y.shape)
    grads = torch.autograd.grad(y, given, grad_y)
    x, weight, bias = twins = doubles(given)
    wanted = function(F.conv2d(x, weight, bias, padding=1))
    expected = torch.autograd.grad(wanted, twins, grad_y.double())
    for got, value in zip((y, *grads), (wanted, *expected), strict=True):
        assert error(got, value) <= LIMIT["exact"]


@pytest.mark.parametrize(
    "size, stride, padding", [(3, 1, 1), (3, 2, 1), (7, 2, 3), (5, 3, 0), (4, 1, 2), (11, 4, 0)]
)
def test_stem_reads_the_image_as_it_is(size, stride, padding, level, monkeypatch):
    monkeypatch.setattr(packed, "pack", None)
    x, weight, scale, bias = leaves(2, 3, 33, 21, 18, size)
    x, given = x.detach(), [weight, scale, bias]
    y = unpack(conv_bias_act(x, weight, bias, "linear", stride, padding))
    grad_y = torch.randn(y.shape)
    grads = torch.autograd.grad(y, [weight, bias], grad_y)
    weight, _, bias = doubles(given)
    wanted = F.conv2d(x.double(), weight, bias, stride, padding)
    expected = torch.autograd.grad(wanted, [weight, bias], grad_y.double())
    for got, value in zip((y, *grads), (wanted, *expected), strict=True):
        assert error(got, value) <= LIMIT["exact"]


def test_fixed_statistics_and_a_part_of_the_channels(level):
    """In evaluation the rolling statistics are constants; x is every second half of a tensor."""
    whole, weight, scale, bias = given = leaves(3, 64, 16, 8, 9, 3)
    given[1] = weight = weight[:, :32].detach().contiguous().requires_grad_()
    rolling = [torch.randn(16), torch.rand(16) + 0.1]
    x = packed.part(packed.pack(whole), 2, 1)
    assert x.shape == (3, 32, 8, 9)
    y = unpack(conv_norm_act(x, weight, scale, bias, rolling, False, "swish", 1, 1))
    grad_y = torch.randn(y.shape)
    grads = torch.autograd.grad(y, given, grad_y)
    whole, weight, scale, bias = twins = doubles(given)
    z = F.conv2d(whole[:, 32:], weight, padding=1)
    mean, var = (t.double() for t in rolling)
    wanted = F.silu(F.batch_norm(z, mean, var, scale, bias, False, 0.01, 1e-5))
    expected = torch.autograd.grad(wanted, twins, grad_y.double())
    for got, value in zip((y, *grads), (wanted, *expected), strict=True):
        assert error(got, value) <= LIMIT["exact"]


def test_moments_of_a_far_mean(level):
    """A mean of 1000 deviations costs no more digits than it must."""
    z = torch.randn(2, 8, 30, 31) + 1000
    weight, ones = torch.eye(8).view(8, 8, 1, 1), torch.ones(8)
    rolling = [torch.zeros(8), torch.zeros(8)]
    conv_norm_act(packed.pack(z), weight, ones, ones, rolling, True, "linear", 1, 0, momentum=1.0)
    assert error(rolling[0], z.double().mean((0, 2, 3))) <= 1e-6
    assert error(rolling[1], z.double().transpose(0, 1).flatten(1).var(1)) <= 1e-5


def test_results_repeat_and_do_not_depend_on_what_was_there(level):
    def run():
        torch.manual_seed(0)
        given = leaves(2, 35, 40, 13, 17, 3)
        rolling = [torch.zeros(40), torch.ones(40)]
        x = packed.pack(given[0])
        with precision("fast"):
            y = unpack(conv_norm_act(x, *given[1:], rolling, True, "leaky", 1, 1))
            return [y, *torch.autograd.grad(y.square().sum(), given)]

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


def test_second_derivatives_are_refused(level):
    x, weight, _, bias = leaves(1, 4, 4, 5, 5, 1)
    y = unpack(conv_bias_act(packed.pack(x), weight, bias, "linear", 1, 0))
    (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives"):
        grad.sum().backward()


def test_precision_exact_never_takes_winograd():
    x, weight, _, bias = leaves(1, 64, 64, 32, 32, 3)
    x = packed.pack(x)
    for word, algorithm in (("exact", "direct"), ("fast", "winograd4")):
        with precision(word):
            y = conv_bias_act(x, weight, bias, "linear", 1, 1)
        assert y.data.grad_fn.layer.conv.algorithm == algorithm


def test_who_begins():
    x = torch.randn(1, 3, 8, 8)
    assert not packed.begins(x)
    with layout("packed"):
        assert packed.begins(x) and not packed.begins(x.double())
        with torch.no_grad():
            assert not packed.begins(x)

"""Convolution: literal cases, derivatives by differences, exactness in float32, refusals."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from tests.ops.oracle import assert_as_exact_as_torch, cast, gradients, leaf
from yolo.ops import ShapeError, activate, conv2d, conv2d_act

# x, weight, then the settings that differ from stride 1, padding 0, dilation 1, groups 1
EDGES = {
    "1x1": ((3, 20, 9, 11), (17, 20, 1, 1), {}),
    "1x1 small maps, batch": ((7, 64, 5, 5), (40, 64, 1, 1), {}),
    "1x1 padded": ((2, 5, 6, 6), (4, 5, 1, 1), {"padding": 1}),
    "1x1 stride 2": ((2, 12, 9, 9), (8, 12, 1, 1), {"stride": 2}),
    "first layer": ((1, 3, 33, 47), (32, 3, 3, 3), {"padding": 1}),
    "3x3 same": ((3, 33, 26, 26), (31, 33, 3, 3), {"padding": 1}),
    "3x3 wide": ((1, 16, 70, 70), (24, 16, 3, 3), {"padding": 1}),
    "3x3 deep and small": ((1, 96, 13, 13), (255, 96, 3, 3), {"padding": 1}),
    "3x3 small maps, batch": ((9, 48, 8, 8), (65, 48, 3, 3), {"padding": 1}),
    "stride 2": ((3, 24, 27, 26), (40, 24, 3, 3), {"padding": 1, "stride": 2}),
    "no padding": ((2, 7, 12, 9), (5, 7, 3, 3), {}),
    "large padding": ((2, 6, 5, 7), (9, 6, 3, 3), {"padding": 4}),
    "even filter": ((2, 8, 10, 9), (6, 8, 2, 4), {"padding": (1, 2)}),
    "5x5": ((1, 9, 14, 14), (10, 9, 5, 5), {"padding": 2}),
    "oblong": ((2, 4, 9, 17), (6, 4, 1, 7), {"padding": (0, 3), "stride": (2, 1)}),
    "dilated": ((2, 10, 15, 15), (12, 10, 3, 3), {"padding": 2, "dilation": 2}),
    "oblong dilation": ((1, 3, 15, 12), (4, 3, 3, 3), {"padding": 1, "dilation": (1, 3)}),
    "groups": ((2, 12, 14, 14), (18, 4, 3, 3), {"padding": 1, "groups": 3}),
    "groups, batch 1": ((1, 12, 30, 30), (6, 6, 1, 1), {"groups": 2}),
    "depthwise": ((2, 19, 13, 15), (19, 1, 3, 3), {"padding": 1, "groups": 19}),
    "depthwise stride 2": ((2, 8, 13, 14), (8, 1, 5, 5), {"padding": 2, "groups": 8, "stride": 2}),
    "depthwise times 3": ((2, 4, 9, 9), (12, 1, 3, 3), {"padding": 1, "groups": 4, "stride": 3}),
    "one pixel out": ((2, 6, 4, 4), (5, 6, 4, 4), {}),
    "1 channel, 1 filter": ((1, 1, 6, 6), (1, 1, 3, 3), {"padding": 1}),
}
# The same geometries on sizes that numeric differentiation can afford.
TINY = {
    "plain": ((2, 2, 4, 5), (3, 2, 3, 3), {"padding": 1}),
    "strided": ((1, 2, 5, 5), (2, 2, 3, 2), {"padding": (1, 2), "stride": (2, 3)}),
    "dilated groups": ((2, 4, 5, 6), (4, 2, 2, 2), {"padding": 1, "dilation": 2, "groups": 2}),
    "depthwise": ((2, 3, 4, 4), (6, 1, 3, 3), {"padding": 1, "groups": 3}),
    "pointwise": ((3, 4, 2, 3), (2, 4, 1, 1), {}),
}


def case(table, name):
    x, weight, settings = table[name]
    return leaf(*x), leaf(*weight), leaf(weight[0]), settings


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("name", EDGES)
def test_float64_equals_torch(name, threads, with_threads):
    x, weight, bias, settings = case(EDGES, name)
    with_threads(threads)
    ours = gradients(lambda *t: conv2d(*t, **settings), x, weight, bias)
    exact = gradients(lambda *t: F.conv2d(*t, **settings), x, weight, bias)
    torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", EDGES)
def test_float32_is_as_exact_as_torch(name):
    x, weight, bias, settings = case(EDGES, name)
    single = cast((x, weight, bias), torch.float32)
    double = cast(single, torch.float64)
    exact = gradients(lambda *t: F.conv2d(*t, **settings), *double)
    peer = gradients(lambda *t: F.conv2d(*t, **settings), *single)
    ours = gradients(lambda *t: conv2d(*t, **settings), *single)
    assert_as_exact_as_torch(ours, peer, exact)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", TINY)
def test_derivatives(name, layout):
    x, weight, bias, settings = case(TINY, name)
    x, weight = (t.detach().to(memory_format=layout).requires_grad_() for t in (x, weight))
    assert gradcheck(lambda *t: conv2d(*t, **settings), (x, weight, bias))


def test_by_hand():
    x = torch.tensor([[[[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]]], requires_grad=True)
    weight = torch.tensor([[[[1.0, 0], [0, -1]]]], requires_grad=True)
    y = conv2d(x, weight, torch.tensor([10.0]))
    assert y.tolist() == [[[[6, 6], [6, 6]]]]
    y.backward(torch.tensor([[[[1.0, 2], [3, 4]]]]))
    assert x.grad.tolist() == [[[[1, 2, 0], [3, 3, -2], [0, -3, -4]]]]
    assert weight.grad.tolist() == [
        [[[1 + 4 + 12 + 20, 2 + 6 + 15 + 24], [4 + 10 + 21 + 32, 5 + 12 + 24 + 36]]]
    ]


def test_stride_and_padding_by_hand():
    x = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    y = conv2d(x, torch.ones(1, 1, 3, 3), stride=2, padding=1)
    assert y.tolist() == [[[[1 + 2 + 4 + 5, 2 + 3 + 5 + 6], [4 + 5 + 7 + 8, 5 + 6 + 8 + 9]]]]


@pytest.mark.parametrize("wanted", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1)])
def test_only_wanted_gradients(wanted):
    x, weight, bias, settings = case(TINY, "plain")
    for tensor, want in zip((x, weight, bias), wanted, strict=True):
        tensor.requires_grad_(bool(want))
    ours = gradients(lambda *t: conv2d(*t, **settings), x, weight, bias)
    exact = gradients(lambda *t: F.conv2d(*t, **settings), x, weight, bias)
    assert len(ours) == 1 + sum(wanted)
    torch.testing.assert_close(ours, exact)


def test_no_gradient_wanted():
    x, weight = torch.randn(1, 2, 4, 4), torch.randn(3, 2, 3, 3)
    assert not conv2d(x, weight).requires_grad
    with torch.no_grad():
        assert not conv2d(x, weight.requires_grad_()).requires_grad


def test_strange_layouts():
    x = leaf(2, 3, 20, 24)
    weight = leaf(3, 3, 3, 4)
    views = {
        "channels last": (x.contiguous(memory_format=torch.channels_last), weight),
        "every second pixel": (x[:, :, ::2, ::2], weight),
        "transposed": (x.transpose(2, 3), weight.permute(3, 0, 2, 1)[:, :, :, :2]),
        "expanded": (x[:1, :1].expand(4, 3, 20, 24), weight),
    }
    for a, b in views.values():
        torch.testing.assert_close(conv2d(a, b, padding=1), F.conv2d(a, b, padding=1))


def test_expanded_gradient():
    x, weight, _, _ = case(TINY, "plain")
    sums = [f(x, weight).sum() for f in (conv2d, F.conv2d)]  # grad_y is one number, expanded
    ours, exact = (torch.autograd.grad(s, (x, weight)) for s in sums)
    torch.testing.assert_close(ours, exact)


@pytest.mark.parametrize("groups", [1, 4])
def test_empty_batch(groups):
    x, weight, bias = leaf(0, 4, 5, 5), leaf(8, 4 // groups, 3, 3), leaf(8)
    y, grad_x, *others = gradients(lambda *t: conv2d(*t, groups=groups), x, weight, bias)
    assert y.shape == (0, 8, 3, 3) and grad_x.shape == x.shape
    assert all(bool((g == 0).all()) for g in others)


@pytest.mark.parametrize("name", ["linear", "leaky", "mish", "logistic", "relu", "swish", "elu"])
@pytest.mark.parametrize("shape", ["3x3 same", "1x1 small maps, batch", "depthwise", "groups"])
def test_fused_bias_and_activation(name, shape):
    x, weight, bias, settings = case(EDGES, shape)
    with torch.no_grad():
        for b in (bias, None):
            y = conv2d_act(x, weight, b, name, **settings)
            torch.testing.assert_close(y, activate(F.conv2d(x, weight, b, **settings), name))


def test_fused_keeps_gradients():
    x, weight, bias, settings = case(TINY, "plain")
    ours = gradients(lambda *t: conv2d_act(*t, "mish", **settings), x, weight, bias)
    exact = gradients(lambda *t: F.mish(F.conv2d(*t, **settings)), x, weight, bias)
    torch.testing.assert_close(ours, exact)


def test_nan_is_not_hidden():
    x = torch.randn(1, 3, 12, 12)
    x[0, 1, 5, 5] = float("nan")
    y = conv2d_act(x, torch.randn(4, 3, 3, 3), None, "relu", padding=1)
    assert y[:, :, 4:7, 4:7].isnan().all() and y.isnan().sum() == 4 * 9


def test_saved_input_may_not_change():
    x, weight, _, _ = case(TINY, "plain")
    changing = x * 1
    y = conv2d(changing, weight)
    changing.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_second_derivative_is_refused():
    x, weight, bias, _ = case(TINY, "plain")
    y = conv2d(x, weight, bias)
    (grad_x,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="conv2d: second derivatives are not implemented"):
        grad_x.square().sum().backward()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": (64, 32, 3, 3), "x": (8, 48, 7, 7)},
         r"weight \(64, 32, 3, 3\) .* expects 32 input channels, x \(8, 48, 7, 7\) has 48"),
        ({"weight": (6, 4, 3, 3), "x": (1, 16, 7, 7), "groups": 4}, r"6 filters do not divide"),
        ({"weight": (6, 4, 3), "x": (1, 4, 7, 7)}, r"4 dimensions each.*\(6, 4, 3\)"),
        ({"weight": (6, 4, 9, 9), "x": (1, 4, 7, 7)}, r"output would be \(1, 6, -1, -1\)"),
        ({"weight": (6, 4, 3, 3), "x": (1, 4, 7, 7), "stride": 0}, r"stride \(0, 0\)"),
        ({"weight": (6, 4, 3, 3), "x": (1, 4, 7, 7), "padding": (1, 1, 1)}, "vertical, horizontal"),
        ({"weight": (6, 4, 3, 3), "x": (1, 4, 7, 7), "bias": (4,)}, r"bias must have shape \(6,\)"),
    ],
)  # fmt: skip
def test_misfits_are_named(arguments, message):
    tensors = {k: torch.zeros(arguments.pop(k)) for k in ("x", "weight", "bias") if k in arguments}
    with pytest.raises(ShapeError, match=message):
        conv2d(**tensors, **arguments)


@pytest.mark.parametrize("dtype", [torch.float16, torch.int32])
def test_other_types_are_refused(dtype):
    with pytest.raises(ShapeError, match="float32 or float64 is needed"):
        conv2d(torch.zeros(1, 1, 3, 3, dtype=dtype), torch.zeros(1, 1, 3, 3, dtype=dtype))
    with pytest.raises(ShapeError, match="must share one type"):
        conv2d(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3, dtype=torch.float64))


def test_runs_are_bitwise_equal():
    x, weight, bias, settings = case(EDGES, "3x3 same")
    single = cast((x, weight, bias), torch.float32)
    first, second = (gradients(lambda *t: conv2d(*t, **settings), *single) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

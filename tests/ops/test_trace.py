"""Operators as PyTorch's tracers see them: fake shapes, torch.compile, torch.export."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.ops.oracle import leaf
from yolo.ops import avgpool, batch_norm_act, conv2d, conv2d_act, maxpool2d, reorg, upsample

GEOMETRY = [2, 1], [1, 2], [1, 1], 2


def cases():
    x, weight, bias = torch.randn(2, 4, 7, 8), torch.randn(6, 2, 3, 3), torch.randn(6)
    grad_y = torch.randn(2, 6, 4, 10)
    c, image = torch.rand(4) + 0.5, torch.randn(2, 4, 6, 6)
    at = torch.zeros(2, 4, 3, 3, dtype=torch.int32)
    return {
        "conv2d_forward": (x, weight, bias, *GEOMETRY, "mish"),
        "conv2d_grad_x": (grad_y, weight, [7, 8], *GEOMETRY),
        "conv2d_grad_weight": (grad_y, x, [3, 3], *GEOMETRY),
        "channel_sums": (x,),
        "bias_act_forward": (image, c, "leaky"),
        "bias_act_backward": (image, image, c, "leaky"),
        "batch_statistics": (image, c.clone(), c.clone(), 0.01, 1e-5),
        "norm_act_forward": (image, c, c, c, c, "swish"),
        "norm_act_backward": (image, image, c, c, c, c, True, "swish"),
        "maxpool_forward": (image, [2, 2], [2, 2], [1, 1], True),
        "maxpool_backward": (torch.randn(2, 4, 3, 3), at, [6, 6], [2, 2], [2, 2], [1, 1]),
        "avgpool_forward": (image,),
        "avgpool_backward": (torch.randn(2, 4, 1, 1), [6, 6]),
        "upsample": (image, -2, 0.5),
        "reorg": (image, [1, 6, 6, 2], False),
    }


@pytest.mark.parametrize("name", cases())
def test_fake_implementation_and_schema(name):
    operator = getattr(torch.ops.yolo, name).default
    checks = ("test_schema", "test_faketensor")
    assert set(torch.library.opcheck(operator, cases()[name], test_utils=checks).values()) == {
        "SUCCESS"
    }


def block(x, weight, scale, bias, mean, var):
    y = conv2d(x, weight, None, 2, 1)
    y = batch_norm_act(y, scale, bias, mean, var, True, "mish")
    y = maxpool2d(upsample(y, 2), 2, 2)
    return avgpool(reorg(y, 2)).square().sum()


def block_arguments():
    x, weight, scale, bias = leaf(2, 4, 12, 12), leaf(4, 4, 3, 3), leaf(4), leaf(4)
    return x, weight, scale, bias, torch.zeros(4).double(), torch.ones(4).double()


def test_compiled_block_has_the_same_gradients_and_statistics():
    arguments = block_arguments()
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    results = []
    for function in (block, compiled):
        copies = [a.detach().clone().requires_grad_(a.requires_grad) for a in arguments]
        y = function(*copies)
        results.append([y, *torch.autograd.grad(y, copies[:4]), *copies[4:]])
    torch.testing.assert_close(results[1], results[0])


def test_exported_graph_holds_our_operator():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(5, 3, 3, 3))
            self.bias = torch.nn.Parameter(torch.randn(5))

        def forward(self, x):
            return conv2d_act(x, self.weight, self.bias, "leaky", padding=1)

    net, x = Net().eval(), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        program = torch.export.export(net, (x,))
        torch.testing.assert_close(program.module()(x), net(x))
    assert "yolo.conv2d_forward" in program.graph_module.code.replace("torch.ops.", "")


def test_fake_tensors_carry_shapes_through_autograd():
    with FakeTensorMode():
        x, weight = torch.empty(2, 3, 16, 16), torch.empty(8, 3, 3, 3, requires_grad=True)
        y = conv2d(x, weight, stride=2, padding=1)
        assert y.shape == (2, 8, 8, 8)
        (grad,) = torch.autograd.grad(y.sum(), weight)
        assert grad.shape == weight.shape

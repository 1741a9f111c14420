"""What a GPU would be asked first, on the stand-in: all the way from a command to the kernels."""

import json

import pytest
import torch

from tests.cuda.test_joined import CHAIN
from yolo import cfg, ops
from yolo.data.image import Placement
from yolo.network import Network
from yolo.ops.cuda import selftest
from yolo.optimizer import DarknetSGD
from yolo.plan.cuda import CudaPlan


@pytest.fixture
def chain(tmp_path):
    """A network with every kind of joined layers, and one image with a box."""
    path = tmp_path / "chain.cfg"
    path.write_text(CHAIN)
    x, boxes = torch.rand(2, 3, 16, 16), torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.3]])
    return lambda: Network(cfg.read(str(path)), seed=2).train(), x, boxes


def step(net, x, boxes, precision):
    """(cost, how all parameters move in one step)"""
    before = [p.detach().clone() for p in net.parameters()]
    with ops.precision(precision):
        report = net.loss(x, boxes)
    report.total.backward()
    DarknetSGD(net).step(1e-3, len(x), 10)
    moved = [(p - old).flatten() for p, old in zip(net.parameters(), before, strict=True)]
    return report.cost, torch.cat(moved).detach().cpu()


@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16"])
def test_a_training_step(gpu, chain, name):
    """Operators, loss and update with tensors of the device, beside the CPU's own kernels."""
    build, x, boxes = chain
    wanted = step(build(), x, boxes, "exact")
    got = step(build().to("cuda"), x.to("cuda"), boxes.to("cuda"), name)
    assert got[0] == pytest.approx(wanted[0], rel=1e-4 if name == "fp32" else 0.05)
    least = 0.99999 if name == "fp32" else 0.998
    assert torch.cosine_similarity(got[1], wanted[1], 0) >= least


FIRST_USE = selftest._device_failures.__wrapped__


def test_the_first_convolution_tests_the_device(gpu, monkeypatch, tmp_path):
    """Within its operator, where no graph is recorded; what was found is kept for other runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(selftest, "CASES", {"depthwise": selftest.CASES["depthwise"]})
    monkeypatch.setattr(selftest, "_device_failures", FIRST_USE)
    x, weight = (torch.rand(2, 8, 5, 5).to("cuda").requires_grad_(), torch.rand(8, 1, 3, 3))
    ops.conv2d(x, weight.to("cuda"), groups=8).sum().backward()
    (found,) = json.loads((tmp_path / "yolo" / "cuda-selftest.json").read_text()).items()
    assert found[0].startswith("stand-in, driver 0, kernels ") and found[1] == {}


@torch.no_grad()
def test_every_call_of_a_plan_gives_the_same(gpu, chain):
    """The first one, too: the runs before the capture write over the input."""
    build, x, _ = chain
    net = build().eval()
    for buffer in net.buffers():
        buffer.fill_(0.3)
    (wanted,) = net(x)
    plan = CudaPlan(net.to("cuda").fused(), batch=len(x))
    places = [Placement(16, 16, 0, 0, 16, 16)] * len(x)
    boxes = [plan.detect(x.to("cuda"), places, 0.2, 0.45) for _ in range(2)]
    assert len(boxes[0][1][0]) > 1
    for first, later in zip(*boxes, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, later, strict=True))
    waits = gpu.waits
    for _ in range(2):
        (got,) = plan(x.to("cuda"))
        torch.testing.assert_close(got.cpu(), wanted)
    assert gpu.waits == waits + 4  # x there, the result back


def test_two_devices_do_not_mix(gpu):
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(2).to("cuda") + torch.ones(2)

"""Regions of interest on the CUDA kernels: the twins in float64 are right, orders do not matter."""

import pytest
import torch

from yolo.ops.cuda import CudaError
from yolo.ops.roi import _align_twin, _pool_twin

LIMITS = {torch.float64: 1e-12, torch.float32: 5e-6, torch.float16: 1e-3, torch.bfloat16: 6e-3}
ROIS = torch.tensor(
    [
        [0, 0.1, 0.2, 0.7, 0.9],
        [1, 0.0, 0.0, 1.0, 1.0],
        [1, -0.3, -0.2, 0.4, 1.3],
        [0, 0.5, 0.5, 0.5, 0.5],
        [1, 1.5, 0.1, 1.9, 0.6],
        [1, 0.9, 0.8, 0.3, 0.1],  # edges the wrong way round
    ],
    dtype=torch.float64,
)
SHAPE = (2, 5, 7, 9)


def assert_near(got, wanted, limit):
    assert got.shape == wanted.shape
    error = (got.double() - wanted.double()).norm()
    assert error <= limit * wanted.double().norm() + 1e-30


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("size", [(3, 2), (7, 7), (1, 1)])
def test_roi_align(machine, kernels, dtype, size):
    x = torch.randn(SHAPE).to(machine.device, dtype)
    exact = x.double().requires_grad_()
    rois = ROIS.to(machine.device)
    wanted = _align_twin(exact, rois.float().double() if dtype != torch.float64 else rois, size, 2)
    grad_y = torch.randn(wanted.shape).to(machine.device, dtype)
    wanted.backward(grad_y.double())
    assert_near(kernels.roi_align_forward(x, rois, size, 2), wanted, LIMITS[dtype])
    grad_x = kernels.roi_align_grad_x(grad_y, rois, SHAPE, 2)
    assert_near(grad_x, exact.grad, LIMITS[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(3, 2), (7, 7), (1, 1)])
def test_roi_pool(machine, kernels, dtype, size):
    x = torch.randint(-9, 9, SHAPE).to(machine.device, dtype)  # many equal values
    exact, rois = x.double().requires_grad_(), ROIS.to(machine.device)
    wanted = _pool_twin(exact, rois, size)
    grad_y = torch.randint(-9, 9, wanted.shape).to(machine.device, dtype)
    wanted.backward(grad_y.double())
    y, index = kernels.roi_pool_forward(x, rois, size)
    assert torch.equal(y.double(), wanted)
    grad_x = kernels.roi_pool_grad_x(grad_y, rois, index, SHAPE)
    assert torch.equal(grad_x.double(), exact.grad)


def test_any_order_of_threads_gives_the_same_bits(machine, kernels):
    x, rois = torch.randn(SHAPE).to(machine.device), ROIS.float().to(machine.device)
    grad_y = torch.randn(len(rois), 5, 3, 3).to(machine.device)
    runs = []
    for order in ("forward", "reverse", "random") if machine.emulated else ("forward",) * 2:
        machine.set_order(order)
        pooled, index = kernels.roi_pool_forward(x, rois, (3, 3))
        results = [pooled, index, kernels.roi_align_forward(x, rois, (3, 3), 2)]
        results.append(kernels.roi_align_grad_x(grad_y, rois, SHAPE, 2))
        runs.append([*results, kernels.roi_pool_grad_x(grad_y, rois, index, SHAPE)])
    machine.set_order("forward")
    for others in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], others, strict=True))


def test_regions_of_no_image_and_of_nan(machine, kernels):
    x = torch.ones(1, 2, 3, 3).to(machine.device)
    nan = float("nan")
    rois = torch.tensor([[-1, 0, 0, 1, 1], [1, 0, 0, 1, 1], [nan, 0, 0, 1, 1.0]]).to(x.device)
    assert not kernels.roi_align_forward(x, rois, (2, 2), 2).any()
    y, index = kernels.roi_pool_forward(x, rois, (2, 2))
    assert not y.any() and (index == -1).all()
    grad_y = torch.ones(3, 2, 2, 2).to(x.device)
    assert not kernels.roi_align_grad_x(grad_y, rois, (1, 2, 3, 3), 2).any()
    assert not kernels.roi_pool_grad_x(grad_y, rois, index, (1, 2, 3, 3)).any()
    edges = torch.tensor([[0, nan, nan, 1, 1.0]]).to(x.device)
    assert not kernels.roi_align_forward(x, edges, (2, 2), 2).any()
    assert kernels.roi_pool_forward(x, edges, (2, 2))[0].isfinite().all()


def test_no_region_and_bad_sizes(machine, kernels):
    x, none = torch.ones(2, 3, 4, 4).to(machine.device), torch.zeros(0, 5).to(machine.device)
    assert kernels.roi_align_forward(x, none, (2, 2), 2).shape == (0, 3, 2, 2)
    grad = kernels.roi_align_grad_x(x.new_zeros(0, 3, 2, 2), none, x.shape, 2)
    assert not grad.any()
    with pytest.raises(CudaError, match="sizes or strides"):
        kernels.roi_align_forward(x, none, (2, 2), 0)

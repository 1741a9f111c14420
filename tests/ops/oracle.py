"""How operations are judged: float64 PyTorch is right, its own float32 error the measure."""

import torch

from yolo.ops import backend

EPS = torch.finfo(torch.float32).eps


def leaf(*shape, dtype=torch.float64):
    """Random normal numbers that want a gradient."""
    return torch.randn(*shape, dtype=dtype).requires_grad_()


def gradients(function, *tensors):
    """[y, gradient of each tensor that wants one] of function(*tensors), grad_y being fixed."""
    y = function(*tensors)
    wanted = [t for t in tensors if t is not None and t.requires_grad]
    grad_y = torch.arange(y.numel(), dtype=torch.float64).sin().reshape(y.shape).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, wanted, grad_y)]


def cast(tensors, dtype):
    """The same values in another type, each wanting a gradient as before."""
    return [
        None if t is None else t.detach().to(dtype).requires_grad_(t.requires_grad) for t in tensors
    ]


def assert_twins_agree(function, *tensors, **tolerance):
    """function gives the same values and gradients on both backends, in float64."""
    tolerance = tolerance or {"rtol": 1e-9, "atol": 1e-11}
    ours = gradients(function, *tensors)
    with backend("torch"):
        theirs = gradients(function, *tensors)
    torch.testing.assert_close(ours, theirs, **tolerance)


def assert_as_exact_as_torch(ours, peer, exact, floor=EPS):
    """Ours is at most twice as far from float64 as PyTorch's float32 is, plus rounding."""
    for mine, theirs, truth in zip(ours, peer, exact, strict=True):
        assert mine.shape == truth.shape and mine.dtype == torch.float32
        error, measure = (mine - truth).norm(), (theirs - truth).norm()
        assert error <= 2 * measure + floor * truth.norm(), f"{error} against PyTorch's {measure}"

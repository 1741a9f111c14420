"""The compiled part: what it says when missing, each instruction set, the choice of algorithm."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from yolo.ops import activate, backend, batch_norm_act, conv2d, maxpool2d
from yolo.ops.native import conv_plan, library, threads, torch_alone
from yolo.ops.shapes import ConvShape

ROOT = Path(__file__).resolve().parents[2]
MISSING = """
import sys
sys.modules["yolo._C"] = None
import torch
from yolo.ops import backend, conv2d
x, w = torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3)
with backend("torch"):
    conv2d(x, w)
try:
    conv2d(x, w)
except ImportError as error:
    print(error)
"""


def test_missing_library_says_how_to_build_it():
    message = subprocess.run(
        [sys.executable, "-c", MISSING],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert "pip install ." in message and "build_ext --inplace" in message


def all_row_kernels():
    """Results and gradients of operations that between them use every loop of rows.cpp."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 6, 37, 41, requires_grad=True), torch.randn(6, 1, 3, 3)
    weight.requires_grad_()
    zeros, ones = torch.zeros(6), torch.ones(6)
    y = conv2d(x, weight, None, 2, 1, 1, 6)
    for name in ("mish", "swish", "logistic", "tanh", "leaky", "ramp", "relu6"):
        y = batch_norm_act(y, ones, zeros, zeros.clone(), ones.clone(), True, name)
        y = activate(y, name)
    y = conv2d(maxpool2d(y, 3, 2), torch.ones(4, 6, 3, 3), torch.ones(4), 2, 1)
    return [y.detach(), *torch.autograd.grad(y.square().mean(), (x, weight))]


@pytest.mark.parametrize("isa", ["base", "avx2", "avx512"])
def test_each_instruction_set(isa):
    best = library().isa_name()
    if not library().use_isa(isa):
        pytest.skip(f"this machine has no {isa}")
    try:
        ours = all_row_kernels()
    finally:
        library().use_isa(best)
    with backend("torch"):
        torch.testing.assert_close(ours, all_row_kernels(), rtol=1e-3, atol=1e-5)


def shape(n, c, size, k, r, stride=1, groups=1):
    out = (size + 2 * (r // 2) - r) // stride + 1
    pairs = (stride, stride), (r // 2, r // 2), (1, 1)
    return ConvShape(n, c, size, size, k, r, r, out, out, *pairs, groups)


def test_choice_of_algorithm():
    assert conv_plan(shape(1, 32, 26, 32, 3, groups=32), "forward", 2).algorithm == "depthwise"
    assert conv_plan(shape(1, 32, 26, 32, 3, groups=16), "forward", 2).algorithm == "im2col"


def test_one_small_map_is_shared_by_filters():
    plan = conv_plan(shape(1, 512, 13, 1024, 3), "forward", 2)
    assert (plan.images, plan.block, plan.parts) == (1, 169, 2)


def test_small_maps_stand_side_by_side():
    for name in ("forward", "grad_x", "grad_weight"):
        plan = conv_plan(shape(8, 512, 13, 1024, 3), name, 2)
        assert plan.images > 1 and plan.block == 169


def test_large_maps_come_in_blocks():
    plan = conv_plan(shape(8, 64, 104, 128, 3), "forward", 2)
    assert plan.images == 1 and 320 <= plan.block <= 2048 and plan.parts == 1


def test_scratch_memory_is_bounded():
    """Columns never grow with the batch or the image: some megabytes for each thread."""
    for name in ("forward", "grad_x", "grad_weight"):
        for size in (13, 52, 208, 832):
            plan = conv_plan(shape(64, 128, size, 256, 3), name, 2)
            assert plan.workspace <= 8_000_000, (name, size, plan.workspace)


def test_torch_alone_leaves_kernels_their_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(KeyError), torch_alone():
            with torch_alone():
                assert torch.get_num_threads() == 1
                assert threads() == 3
            assert (torch.get_num_threads(), threads()) == (1, 3)
            raise KeyError
        assert (torch.get_num_threads(), threads()) == (3, 3)
    finally:
        torch.set_num_threads(before)


def test_torch_alone_is_of_the_calling_thread():
    """A thread that begins meanwhile has as many as ever, and keeps them."""
    seen = []
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with torch_alone():
            other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
            other.start()
            other.join()
    finally:
        torch.set_num_threads(before)
    assert seen == [3]

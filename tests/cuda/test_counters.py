"""What kernels would cost a GPU, counted on the emulator and compared with a checked-in file.

A slip in a swizzle shows as bank conflicts, one in a layout as sectors, before any run on a GPU.
After an intended change: YOLO_WRITE_COUNTERS=1 pytest tests/cuda/test_counters.py, and read the
difference.
"""

import ctypes
import json
import math
import os
from pathlib import Path

import pytest
import torch

from yolo.ops.cuda.choose import fits_stem
from yolo.ops.cuda.structs import GRAD_X
from yolo.ops.shapes import conv_shape

GOLDEN = Path(__file__).with_name("counters.json")
SHAPES = {
    "3x3 64->64": (1, 64, 8, 16, 64, 3, 1, 1),
    "3x3/s2 40->136": (1, 40, 13, 11, 136, 3, 2, 1),
    "stem 3->32": (1, 3, 16, 8, 32, 3, 1, 1),
    "1x1 32->255": (1, 32, 8, 8, 255, 1, 1, 0),
}
LADDER = "3x3 64->64"  # the shape whose counters docs/kernels/README.md shows


def aligned(*shape, dtype):
    """NHWC memory that begins at a multiple of 128 bytes, so that sectors do not vary."""
    n, c, h, w = shape
    room = torch.zeros(n * c * h * w + 64, dtype=dtype)
    skip = -room.data_ptr() % 128 // room.element_size()
    return room[skip : skip + n * c * h * w].view(n, h, w, c).permute(0, 3, 1, 2)


@pytest.fixture
def aligned_results(monkeypatch):
    """Results and workspaces begin at multiples of 128 bytes too."""
    plain = torch.empty

    def empty(size, dtype=None, device=None):
        count = size if isinstance(size, int) else math.prod(size)
        room = plain(count + 128, dtype=dtype, device=device)
        skip = -room.data_ptr() % 128 // room.element_size()
        return room[skip : skip + count].view(size)

    def empty_strided(shape, stride, dtype=None, device=None):
        return aligned(*shape, dtype=dtype)

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch, "empty_strided", empty_strided)


def runs(kernels, dtype, case):
    """name -> a call of one kernel"""
    n, c, h, w, k, size, stride, padding = SHAPES[case]
    a = conv_shape(
        torch.zeros(n, c, h, w), torch.zeros(k, c, size, size), None, stride, padding, 1, 1
    )
    x, grad_y = aligned(n, c, h, w, dtype=dtype), aligned(n, k, a.p, a.q, dtype=dtype)
    weight = aligned(k, c, size, size, dtype=dtype)
    sums = kernels.implicit_tiles(a, x.device, GRAD_X)
    channels = [aligned(1, c, 1, 1, dtype=torch.float32).view(-1) for _ in range(4)]
    found = {
        "forward": lambda: kernels.implicit_forward(a, x, weight),
        "forward, 3 splits": lambda: kernels.implicit_forward(a, x, weight, splits=3),
        "forward, statistics": lambda: kernels.implicit_forward(
            a, x, weight, tiles=kernels.implicit_tiles(a, x.device)
        ),
        "grad_x": lambda: kernels.implicit_grad_x(a, grad_y, weight),
        "grad_x, sums": lambda: kernels.implicit_grad_x(
            a, grad_y, weight, None, (x, *channels, "leaky"), sums
        ),
        "grad_weight": lambda: kernels.implicit_grad_weight(a, x, grad_y, splits=1),
        "grad_weight, 2 splits": lambda: kernels.implicit_grad_weight(a, x, grad_y, splits=2),
    }
    if dtype == torch.float32:
        found["im2col forward"] = lambda: kernels.im2col_forward(a, x, weight.contiguous())
    if dtype == torch.float32 and case == LADDER:
        found["naive forward"] = lambda: naive(kernels, x, weight)
    if fits_stem(a) and dtype == torch.bfloat16:
        found["stem forward"] = lambda: kernels.stem_forward(a, x, weight)
        found["stem grad_weight"] = lambda: kernels.stem_grad_weight(a, x, grad_y)
    return found


def spp_runs(kernels):
    """As runs(), of pools of one map."""
    sizes, (x, other, *ys) = (
        (5, 9, 13),
        [aligned(1, 64, 9, 8, dtype=torch.bfloat16) for _ in range(5)],
    )
    _, codes = kernels.spp_forward(x, sizes, ys)
    return {
        "spp 64 bfloat16 forward": lambda: kernels.spp_forward(x, sizes, ys),
        "spp 64 bfloat16 grad_x": lambda: kernels.spp_grad_x(ys, codes, sizes, other),
    }


def naive(kernels, x, weight):
    """The first rung of the ladder: NCHW, one image."""
    (_, c, h, w), k = x.shape, weight.shape[0]
    y = plane(k, h, w)
    tensors = [plane(*t.shape).copy_(t) for t in (x, weight)]
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (*tensors, y)]
    kernels.call("probe_naive", y.device, *pointers, c, h, w, k)
    return y


def plane(*shape):
    """NCHW memory that begins at a multiple of 128 bytes."""
    return aligned(1, math.prod(shape), 1, 1, dtype=torch.float32).view(shape)


def count_all(machine):
    found = {
        f"{case} {str(dtype).removeprefix('torch.')} {name}": machine.count(run)
        for case in SHAPES
        for dtype in (torch.bfloat16, torch.float32)
        for name, run in runs(machine.kernels, dtype, case).items()
    }
    return found | {name: machine.count(run) for name, run in spp_runs(machine.kernels).items()}


def test_counters_are_those_checked_in(machine, kernels, aligned_results):
    if not machine.emulated:
        pytest.skip("counted on the emulator")
    counted = count_all(machine)
    if os.environ.get("YOLO_WRITE_COUNTERS") == "1":
        GOLDEN.write_text(json.dumps(counted, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    changed = {name: (golden.get(name), now) for name, now in counted.items()
               if golden.get(name) != now}  # fmt: skip
    assert not changed and set(golden) == set(counted)


def test_the_naive_kernel_convolves(machine, kernels):
    if not machine.emulated:
        pytest.skip("its memory is the emulator's")
    x, weight = torch.randn(1, 5, 7, 9), torch.randn(6, 5, 3, 3)
    wanted = torch.nn.functional.conv2d(x.double(), weight.double(), padding=1)
    got = naive(kernels, x, weight).double().view_as(wanted)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_the_main_loops_have_no_bank_conflicts(machine, kernels, aligned_results):
    """More wavefronts than requests come from the epilogue of a tile alone: a fixed number."""
    if not machine.emulated:
        pytest.skip("counted on the emulator")
    for dtype in (torch.bfloat16, torch.float32):
        extra = []
        for channels in (64, 256):
            SHAPES["depth"] = (1, channels, 8, 16, 64, 1, 1, 0)
            counted = machine.count(runs(kernels, dtype, "depth")["forward"])
            extra.append(counted["shared_wavefronts"] - counted["shared_requests"])
            grad_weight = machine.count(runs(kernels, dtype, "depth")["grad_weight"])
            assert grad_weight["shared_wavefronts"] == grad_weight["shared_requests"]
        del SHAPES["depth"]
        assert extra[0] == extra[1]

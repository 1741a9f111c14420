"""The first use of a GPU: every convolution kernel and pass against float64, on a few small shapes.

    failures(kernels, device)    {"implicit grad_x bfloat16": "relative error 0.4, limit 0.006"}
    refuse("implicit", "grad_x", x)   raises CudaError where that kernel failed on x's device

What was found is kept in the user's cache folder, for each device, driver and build of the
kernels, and read from there the next time.
"""

import functools
import hashlib
import json
import os
from pathlib import Path

import torch
import torch.nn.functional as F

from ...files import atomic
from ..precision import check_tensor_cores
from ..shapes import conv_shape
from .library import CudaError

# relative L2 against float64 on the same values
LIMITS = {torch.float64: 1e-12, torch.float32: 5e-6, torch.bfloat16: 6e-3, torch.float16: 1e-3}
TF32_LIMIT = 1e-3
HALVES = torch.bfloat16, torch.float16
# algorithm: its types, and (n, c, h, w, k, size, stride, padding, dilation, groups)
CASES = {
    "im2col": (
        (torch.float32, torch.float64),
        [(2, 6, 9, 7, 10, 3, 2, 1, 1, 2), (1, 70, 5, 6, 66, 1, 1, 0, 1, 1)],
    ),
    "implicit": (
        (torch.float32, *HALVES),
        [(2, 40, 9, 13, 136, 3, 2, 1, 1, 1), (1, 72, 11, 12, 66, 1, 1, 0, 1, 1)],
    ),
    "stem": (HALVES, [(2, 3, 13, 11, 40, 3, 1, 1, 1, 1)]),
    "depthwise": (tuple(LIMITS), [(2, 24, 9, 7, 24, 3, 2, 1, 1, 24)]),
}
# sums: those that grad_x leaves for the normalisation before it
PASSES = ("forward", "grad_x", "grad_weight", "sums")
TENSOR_CORES = "implicit", "stem"


@torch.inference_mode(False)
@torch.enable_grad()  # the first use may be within a block, or an operator, that records no graph
def failures(kernels, device, cases=CASES):
    """{name of kernel, pass and type: what is wrong}; empty where all is well."""
    found = {}
    for algorithm, (types, sizes) in cases.items():
        for dtype in types:
            limit = TF32_LIMIT if (algorithm, dtype) == ("implicit", torch.float32) else None
            for size in sizes:
                problems = _check(kernels, device, algorithm, dtype, size, limit or LIMITS[dtype])
                found |= {_name(algorithm, pass_, dtype): text for pass_, text in problems.items()}
    return found


def _name(algorithm, pass_, dtype):
    return f"{algorithm} {pass_} {str(dtype).removeprefix('torch.')}"


def _check(kernels, device, algorithm, dtype, size, limit):
    """{pass: what is wrong} of one kernel on one shape."""
    n, c, h, w, k, taps, *geometry = size
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    x, weight = normal(n, c, h, w), normal(k, c // geometry[-1], taps, taps)
    a = conv_shape(x.double(), weight.double(), None, *geometry)
    grad_y = normal(n, k, a.p, a.q)
    exact = x.double().requires_grad_(), weight.double().requires_grad_()
    y = F.conv2d(*exact, None, *geometry)
    y.backward(grad_y.double())
    grad_x = exact[0].grad
    sums = torch.stack([grad_x, grad_x * x.double()], -1).sum((0, 2, 3))
    wanted = dict(zip(PASSES, (y.detach(), grad_x, exact[1].grad, sums), strict=True))
    operands = {"forward": (x, weight), "grad_x": (grad_y, weight), "grad_weight": (x, grad_y),
                "sums": (grad_y, weight, x)}  # fmt: skip
    problems = {}
    for pass_, given in operands.items():
        run = getattr(kernels, f"{algorithm}_{pass_}", None)
        if run is None:  # the stem has no grad_x, and one kernel alone has sums
            continue
        try:
            got = run(a, *(t.to(device) for t in given)).double().cpu()
        except CudaError as error:
            problems[pass_] = str(error)
            continue
        error = float((got - wanted[pass_]).norm() / wanted[pass_].norm())
        if not error <= limit:
            problems[pass_] = f"relative error {error:.2g}, limit {limit:g}"
    return problems


def remembered(path, key, measure):
    """What measure() gives, kept in the JSON file under key; a file that cannot be used is passed
    over, and made anew where that can be."""
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        known = {}
    if not isinstance(known, dict) or not isinstance(known.get(key), dict):
        known = (known if isinstance(known, dict) else {}) | {key: measure()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic(path, json.dumps(known, indent=1) + "\n")
        except OSError:
            pass  # no place to keep it: the next process tests again
    return known[key]


def cache_file():
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "yolo" / "cuda-selftest.json"


@functools.cache
def _device_failures(kernels, index):
    device = torch.device("cuda", index)
    build = hashlib.sha256(Path(kernels.path).read_bytes()).hexdigest()[:16]
    driver = kernels.library.yolo_cuda_driver_version()
    key = f"{torch.cuda.get_device_name(device)}, driver {driver}, kernels {build}"
    old = torch.cuda.get_device_capability(device) < (8, 0)  # its tensor cores cannot be tried
    cases = {name: case for name, case in CASES.items() if not (old and name in TENSOR_CORES)}
    return remembered(cache_file(), key, lambda: failures(kernels, device, cases))


def refuse(kernels, algorithm, pass_, x):
    """Raises where this kernel failed its test on the device of x, which is tested when new."""
    if not x.is_cuda:
        return
    if algorithm in TENSOR_CORES:
        check_tensor_cores(x.device, f"the {algorithm} kernel")
    name = _name(algorithm, pass_, x.dtype)
    problem = _device_failures(kernels, x.device.index or 0).get(name)
    if problem:
        raise CudaError(
            f"{name} computes wrong results on {torch.cuda.get_device_name(x.device)} ({problem}); "
            f"YOLO_CONV or --precision choose another kernel, and {cache_file()} keeps the finding"
        )

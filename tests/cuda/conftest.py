"""Builds the CUDA kernels for the emulator once per change of their sources.

YOLO_CUDA_LIBRARY names a library built with nvcc instead: the same tests then run on the GPU.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tests.cuda.stand_in import StandIn
from yolo.ops import shapes
from yolo.ops.cuda import Kernels, operators, selftest
from yolo.ops.cuda.layout import empty_nhwc

ROOT = Path(__file__).resolve().parents[2]
COMPILER = os.environ.get("CXX", "g++")
FLAGS = [
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-DYOLO_EMULATOR",
]


def sources():
    csrc = ROOT / "csrc"
    probe = ROOT / "tests" / "cuda" / "probe.cu"
    return [*sorted([*csrc.glob("emulator/*.cpp"), *csrc.glob("cuda/*.cu")]), probe]


def fingerprint():
    """Changes with any file that the build reads."""
    csrc = ROOT / "csrc"
    headers = [*csrc.glob("*.h"), *csrc.glob("*/*.h"), *csrc.glob("cuda/*.cuh")]
    included = ROOT / "benchmarks" / "ladder" / "naive.cu"
    files = sorted([*headers, included, *sources()])
    digest = hashlib.sha256(" ".join([COMPILER, *FLAGS]).encode())
    for path in files:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def compile_one(path, folder):
    target = folder / f"{path.name}.o"
    command = [COMPILER, *FLAGS, "-x", "c++", "-c", str(path), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return target


def build_emulator():
    library = ROOT / "build" / f"emulator-{fingerprint()}" / "kernels.so"
    if library.exists():
        return library
    folder = library.parent
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda path: compile_one(path, folder), sources()))
    partial = folder / f"partial-{os.getpid()}.so"
    subprocess.run([COMPILER, "-shared", "-o", partial, *objects], check=True)
    partial.replace(library)  # whole or not there, even where two runs build at once
    return library


class Emulator:
    """The emulated kernels and what can be asked of the machine below them."""

    device = torch.device("cpu")
    emulated = True

    def __init__(self, path):
        self.kernels = Kernels(path, on_cuda=False)
        self.library = self.kernels.library

    def set_order(self, order):
        self.library.emulator_set_order(("forward", "reverse", "random").index(order), 7)

    def count(self, run):
        """Counters of the launches that run() makes."""
        names = [
            "shared_requests",
            "shared_wavefronts",
            "global_requests",
            "global_sectors",
            "global_bytes",
            "mma",
            "block_barriers",
            "warp_barriers",
        ]
        values = (ctypes.c_uint64 * len(names))()
        self.library.emulator_count(1, None)
        run()
        self.library.emulator_count(0, values)
        return dict(zip(names, values, strict=True))


class Gpu:
    device = torch.device("cuda")
    emulated = False

    def __init__(self, path):
        if not torch.cuda.is_available():
            pytest.exit(f"YOLO_CUDA_LIBRARY={path}, but torch finds no GPU", returncode=1)
        self.kernels = Kernels(path)
        torch.backends.cudnn.allow_tf32 = False  # PyTorch's float32 results are wanted exactly

    def set_order(self, order):
        if order != "forward":
            pytest.skip("the GPU chooses its own order")


@pytest.fixture(scope="session")
def machine():
    """Runs the kernels: the emulator, or the GPU if YOLO_CUDA_LIBRARY names a build for it."""
    library = os.environ.get("YOLO_CUDA_LIBRARY")
    if library:
        return Gpu(library)
    if shutil.which(COMPILER) is None:
        pytest.skip(f"no compiler {COMPILER} to build the emulator with")
    return Emulator(build_emulator())


@pytest.fixture
def kernels(machine):
    machine.set_order("forward")
    return machine.kernels


@pytest.fixture(params=["forward", "reverse", "random"])
def any_order(request, machine):
    """The kernels with threads and blocks in each order in turn."""
    machine.set_order(request.param)
    yield machine.kernels
    machine.set_order("forward")


@pytest.fixture
def gpu(machine, kernels, monkeypatch):
    """The stand-in for a GPU, which has passed its test."""
    if not machine.emulated:
        pytest.skip("a GPU is there")
    monkeypatch.setattr(selftest, "_device_failures", lambda kernels, index: {})
    with StandIn(kernels).entered(monkeypatch) as device:
        yield device


# where yolo.ops calls the operators by
CALLS = {
    "conv2d_forward": ["conv._forward", "pending._convolve"],
    "conv2d_grad_x": ["conv._grad_x"],
    "conv2d_grad_weight": ["conv._grad_weight", "pending._grad_weight"],
    "conv2d_statistics": ["pending._conv_statistics"],
    "batch_statistics": ["norm._statistics"],
    "norm_act_forward": ["norm._forward"],
    "norm_act_into": ["pending._into"],
    "norm_act_backward": ["norm._backward", "pending._backward"],
    "conv2d_grad_norm_act": ["pending._grad_norm_act"],
    "bias_act_forward": ["activation._forward"],
    "bias_act_backward": ["activation._backward"],
    "prelu_forward": ["prelu._forward"],
    "prelu_backward": ["prelu._backward"],
    "channel_sums": ["activation.channel_sums", "conv.channel_sums"],
    "maxpool_forward": ["pool._maxpool"],
    "maxpool_backward": ["pool._maxpool_backward"],
    "spp_forward": ["spp._forward"],
    "spp_backward": ["spp._backward"],
    "avgpool_forward": ["pool._avgpool"],
    "avgpool_backward": ["pool._avgpool_backward"],
    "upsample": ["upsample._resize", "concat._resize"],
    "upsample_into": ["concat._enlarge_into"],
    "reorg": ["reorg._permute"],
    "roi_align_forward": ["roi._align"],
    "roi_align_backward": ["roi._align_backward"],
    "roi_pool_forward": ["roi._pool"],
    "roi_pool_backward": ["roi._pool_backward"],
}


@pytest.fixture
def device(machine, kernels, monkeypatch):
    """Where tensors must be for yolo.ops to run the CUDA kernels."""
    monkeypatch.setattr(operators, "kernels", lambda: kernels)
    monkeypatch.setattr("yolo.ops.update.kernels", lambda: kernels)
    if machine.emulated:
        monkeypatch.setattr(shapes, "HALF_DEVICES", {"cpu", "cuda"})
        assert set(CALLS) == set(operators.IMPLEMENTATIONS)
        for name, places in CALLS.items():
            for place in places:
                module, attribute = place.split(".")
                module = sys.modules[f"yolo.ops.{module}"]
                monkeypatch.setattr(module, attribute, operators.IMPLEMENTATIONS[name])
        for room in ("concat", "unwritten"):
            monkeypatch.setattr(f"yolo.ops.{room}.result", empty_nhwc)
    return machine.device


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch):
    """Memory that a kernel should fill holds NaN before it does."""

    def poisoned(make):
        def empty(*args, **kwargs):
            tensor = make(*args, **kwargs)
            with torch.no_grad():  # it may be a leaf, as in checkpoints of PyTorch 2.11
                return tensor.fill_(float("nan") if tensor.is_floating_point() else 255)

        return empty

    with torch.device("meta"):
        torch.empty(0)  # the first such block learns for good what torch.empty is
    for owner, name in ((torch, "empty"), (torch, "empty_strided"), (torch.Tensor, "new_empty")):
        monkeypatch.setattr(owner, name, poisoned(getattr(owner, name)))

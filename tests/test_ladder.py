"""The rungs that stand in benchmarks/ladder/ for the reader compute the convolution."""

import ctypes
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[1]
SHAPES = [(3, 5, 7, 9), (8, 16, 13, 13), (5, 6, 16, 11)]  # channels, filters, height, width

ON_THE_EMULATOR = """
#include "csrc/cuda/launch.cuh"
#include "csrc/cuda/instructions.cuh"
#include "benchmarks/ladder/naive.cu"
extern "C" void convolve_all(const float* x, const float* weight, float* y, int channels,
                             int height, int width, int filters) {
    const unsigned blocks = blocks_for(int64_t(filters) * height * width, 64);
    LAUNCH(convolve, dim3(blocks), dim3(64), 0, Stream(), x, weight, y, channels, height, width,
           filters);
}
"""


@pytest.fixture(scope="module")
def ladder():
    """benchmarks/ladder.py as a module."""
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("ladder", ROOT / "benchmarks" / "ladder.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(folder)
    return module


def check(function, shape):
    c, k, h, w = shape
    x, weight = torch.randn(1, c, h, w), torch.randn(k, c, 3, 3)
    y = torch.full((1, k, h, w), float("nan"))
    function(*[ctypes.c_void_p(t.data_ptr()) for t in (x, weight, y)], c, h, w, k)
    wanted = F.conv2d(x.double(), weight.double(), padding=1)
    torch.testing.assert_close(y.double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["naive", "im2col", "blocked"])
def test_programs(ladder, tmp_path, name):
    function = ladder.compiled(name, tmp_path)
    for shape in SHAPES:
        check(function, shape)


def test_measuring_checks_every_rung(ladder, monkeypatch):
    argv = ["ladder.py", "--channels", "16", "--filters", "16", "--size", "8", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", argv)
    printed = []
    monkeypatch.setattr("builtins.print", printed.append)
    threads = torch.get_num_threads()
    try:
        ladder.main()
    finally:
        torch.set_num_threads(threads)
    for name in ("naive", "im2col", "blocked", "blas", "packed", "winograd"):
        assert f"| {name} |" in printed[0]


@pytest.mark.long
def test_cuda_program_on_the_emulator(tmp_path):
    source, library = tmp_path / "naive.cpp", tmp_path / "naive.so"
    source.write_text(ON_THE_EMULATOR)
    emulator = sorted((ROOT / "csrc" / "emulator").glob("*.cpp"))
    status = ROOT / "csrc" / "cuda" / "status.cu"
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-DYOLO_EMULATOR", f"-I{ROOT}", "-x", "c++"]
    command = ["g++", *flags, source, *emulator, status, "-o", library]
    subprocess.run(command, check=True)
    for shape in SHAPES:
        check(ctypes.CDLL(str(library)).convolve_all, shape)


def test_the_page_shows_what_was_counted(ladder):
    page = (ROOT / "docs" / "kernels" / "README.md").read_text()
    assert f"<!-- counters -->\n{ladder.counters()}\n<!-- /counters -->" in page, (
        "write it anew: python benchmarks/ladder.py --counters"
    )

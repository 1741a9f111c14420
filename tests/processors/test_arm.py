"""The portable kernels on 64-bit ARM, where their vectors are NEON's, under an emulator."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

COMPILERS = ("aarch64-linux-gnu-g++", "aarch64-linux-gnu-g++-12")
EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")
ROOT = Path(__file__).resolve().parents[2]
PACKED = ROOT / "csrc/cpu/packed"
SOURCES = [
    *(PACKED / f"{name}.cpp" for name in ("plan", "mosaic")),
    *PACKED.glob("level*.cpp"),  # those of other processors are empty there
    ROOT / "csrc/cpu/threads.cpp",
    ROOT / "tests/processors/kernels.cpp",
]


def program(names):
    return next(filter(None, map(shutil.which, names)), None)


@pytest.mark.long
def test_kernels_on_arm(tmp_path):
    compiler, emulator = program(COMPILERS), program(EMULATORS)
    if compiler is None or emulator is None:
        pytest.skip("needs g++-aarch64-linux-gnu and qemu-user-static")

    def build(source):
        target = tmp_path / f"{source.stem}.o"
        flags = ["-O2", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
        subprocess.run([compiler, *flags, "-c", source, "-o", target], check=True)
        return target

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(build, SOURCES))
    kernels = tmp_path / "kernels"
    subprocess.run([compiler, "-static", "-pthread", *objects, "-o", kernels], check=True)
    listing = subprocess.run(
        [compiler.replace("g++-12", "objdump").replace("g++", "objdump"), "-d", kernels],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "fmla\tv" in listing.stdout  # NEON's multiply-add of whole vectors
    result = subprocess.run([emulator, kernels], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr

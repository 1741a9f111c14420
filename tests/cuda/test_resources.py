"""No kernel spills registers, and the checked-in table of resources is that of the sources."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_no_kernel_spills():
    if shutil.which("nvcc") is None or shutil.which("c++filt") is None:
        pytest.skip("no nvcc and c++filt here")
    command = [sys.executable, ROOT / "benchmarks" / "cuda_resources.py"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in (ROOT / "benchmarks" / "CUDA_RESOURCES.md").read_text()

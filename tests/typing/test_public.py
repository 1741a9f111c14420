"""The public surface is typed: mypy, strict, on it and on a program that uses it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long  # PyTorch's own types take mypy most of a minute to read
def test_mypy_finds_nothing(tmp_path):
    pytest.importorskip("mypy")
    flags = ["--cache-dir", str(tmp_path)]
    for arguments in ([], ["--strict", "tests/typing/program.py"]):
        done = subprocess.run(
            [sys.executable, "-m", "mypy", *flags, *arguments], cwd=ROOT, capture_output=True,
            text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_marker_is_packaged():
    assert (ROOT / "yolo/py.typed").exists()
    assert 'yolo = ["py.typed"]' in (ROOT / "pyproject.toml").read_text()

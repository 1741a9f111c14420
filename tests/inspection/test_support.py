"""docs/support.md is what the code says about itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from yolo.inspection import support
from yolo.layers import LAYERS

pytest.importorskip("onnx")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "support.md"


@pytest.fixture(scope="module")
def matrix():
    return support.matrix()


def test_the_page_is_not_stale(matrix):
    assert PAGE.read_text() == matrix, "run: python -m yolo.inspection.support > docs/support.md"


def test_every_section_is_there(matrix):
    for name in LAYERS:
        assert f"[{name}]" in matrix, name


def test_what_is_refused_says_why(matrix):
    rows = [row for row in matrix.split("\n") if "| refused |" in row]
    assert len(rows) > 5
    assert all(len(row.split("|")[-2].strip()) > 10 for row in rows)


def test_keys_that_only_train_are_keys(matrix):
    rows = {row.split("|")[1].strip() for row in matrix.split("\n") if row.startswith("| ")}
    assert rows >= support.TRAINING


def test_rows_of_a_known_layer(matrix):
    part = matrix.split("## [convolutional]")[1].split("## ")[0]
    assert "| filters | yes | yes | yes | yes | |" in part
    assert "| antialiasing | yes | yes | yes | yes | |" in part
    assert "| grad_centr | yes | - | yes | - | |" in part
    assert "| coordconv | refused | - | - | - | Darknet's own is broken" in part


@pytest.mark.long
def test_it_runs_as_a_program():
    run = [sys.executable, "-m", "yolo.inspection.support"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and done.stdout == PAGE.read_text()

"""Lets the tests of this folder import small_run.py, which pytest's importlib mode would not."""

import sys
from pathlib import Path

import pytest
import torch

from yolo import plot

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def no_chart(monkeypatch):
    """Drawing takes longer than the runs; what is drawn has tests of its own."""
    drawn = []
    monkeypatch.setattr(plot, "chart", lambda *arguments, **_: drawn.append(arguments))
    return drawn


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small only wait for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

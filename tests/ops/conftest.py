"""Lets the tests of this folder import oracle.py, which pytest's importlib mode would not."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def with_threads():
    """torch.set_num_threads, undone at the end of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)

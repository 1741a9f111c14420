"""Threads for those that ask for them."""

import pytest
import torch


@pytest.fixture
def with_threads():
    """torch.set_num_threads, undone at the end of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)

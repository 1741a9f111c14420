"""Small runs, on one thread and without charts."""

import pytest


@pytest.fixture(autouse=True)
def small(one_thread, no_chart):
    pass

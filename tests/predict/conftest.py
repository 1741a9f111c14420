"""One thread for small networks."""

import pytest


@pytest.fixture(autouse=True)
def small(one_thread):
    pass

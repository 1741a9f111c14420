"""Which code computes the operations: our kernels ("native") or PyTorch's own operators ("torch").

Native is the default and is never replaced silently.  The PyTorch twin is for tests, benchmarks
and export, and is chosen per thread:

    with backend("torch"):
        y = conv2d(x, weight)
"""

import threading
from contextlib import contextmanager

BACKENDS = ("native", "torch")


class _Choice(threading.local):
    name = "native"


_choice = _Choice()


@contextmanager
def backend(name):
    """Within the block, this thread's operations run on `name`: "native" or "torch"."""
    if name not in BACKENDS:
        raise ValueError(f"backend: unknown name {name!r}; choose from {', '.join(BACKENDS)}")
    previous, _choice.name = _choice.name, name
    try:
        yield
    finally:
        _choice.name = previous


def current_backend():
    """Name of the backend that this thread's next operation will use."""
    return _choice.name


def uses_torch():
    return _choice.name == "torch"

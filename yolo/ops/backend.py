"""Which code computes the operations: our kernels ("native") or PyTorch's own operators ("torch").

Native is the default and is never replaced silently.  The PyTorch twin is for tests, benchmarks
and export, and is chosen per thread:

    with backend("torch"):
        y = conv2d(x, weight)
"""

from .switch import Switch

BACKENDS = ("native", "torch")
backend = Switch("backend", BACKENDS)


def current_backend():
    """Name of the backend that this thread's next operation will use."""
    return backend.current


def uses_torch():
    return backend.current == "torch"

"""A choice by name that holds within a block, for the present thread only."""

import threading
from contextlib import contextmanager


class _Thread(threading.local):
    """What one thread has chosen; None: the default."""

    def __init__(self):  # in each thread: a tracer watches a value, not the lack of one
        self.name = None


class Switch:
    """Called with one of `names` it is a context manager; `current` is what holds now. The first
    name is the default."""

    def __init__(self, what, names):
        self.what, self.names = what, names
        self._thread = _Thread()

    @property
    def current(self):
        return self._thread.name or self.names[0]

    @contextmanager
    def __call__(self, name):
        if name not in self.names:
            known = ", ".join(self.names)
            raise ValueError(f"{self.what}: unknown name {name!r}; choose from {known}")
        if name == self.current:  # tracers of a backward pass would refuse to change anything
            yield
            return
        previous, self._thread.name = self._thread.name, name
        try:
            yield
        finally:
            self._thread.name = previous

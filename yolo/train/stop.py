"""Ctrl-C and SIGTERM: the first asks a run to end at its next safe place, the second ends it."""

import signal
import threading
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """Raised within `Stop.at_once` when a signal comes."""


class Stop:
    """While the block lasts, `signal` is the number of the first signal that came, or None.

    From then on the system's own answer to the signal is back: a second one ends the process at
    once, even inside a kernel.
    """

    def __init__(self):
        self.signal, self._raising, self._earlier = None, False, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._earlier = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        self.signal = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        if self._raising:
            raise Interrupted

    @contextmanager
    def at_once(self):
        """A block that a signal may break off: Interrupted."""
        if self.signal is not None:
            raise Interrupted
        self._raising = True
        try:
            yield
        finally:
            self._raising = False

    @property
    def name(self):
        """SIGINT or SIGTERM."""
        return signal.Signals(self.signal).name

    @property
    def exit_code(self):
        """As shells report a process that a signal ended."""
        return 128 + self.signal

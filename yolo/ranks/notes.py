"""Warnings of every rank, in the log of the first.

Other ranks keep what they would say until the first fetches it; it repeats nothing that it has said
itself, so that only what is particular to a rank appears, with its number before it.
"""

import logging
import warnings
from contextlib import contextmanager

from . import group


class Notes(logging.Handler):
    """Texts that wait to be fetched, and those that were said."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.waiting, self.said = [], set()

    def emit(self, record):
        self.add(record.getMessage())

    def add(self, text):
        """One line that this rank would say."""
        (self.said.add if group.first() else self.waiting.append)(text)

    def take(self):
        """What waits, which then waits no more."""
        taken, self.waiting = self.waiting, []
        return taken

    def news(self, taken):
        """Lines for the user, on the first rank, from what each rank's take() gave."""
        if not group.first():
            return
        for rank, texts in enumerate(taken):
            for text in texts:
                if text not in self.said:
                    self.said.add(text)
                    yield f"rank {rank}: {text}"


notes = Notes()


@contextmanager
def collect():
    """Within the block warnings and log messages of this package are booked; those of other ranks
    than the first appear nowhere else."""
    log, show = logging.getLogger("yolo"), warnings.showwarning

    def booked(message, category, *rest, **more):
        if category.__module__.startswith("yolo."):
            notes.add(str(message))
        if group.first():
            show(message, category, *rest, **more)

    log.addHandler(notes)
    shown = logging.lastResort if group.first() else None
    if shown:  # a logger that has a handler is no longer shown by the last resort
        log.addHandler(shown)
    warnings.showwarning = booked
    try:
        yield
    finally:
        log.removeHandler(notes)
        if shown:
            log.removeHandler(shown)
        warnings.showwarning = show

"""What hostile input may cost, and how it is made.

Each case gets 2 s of processor time and so many megabytes of new memory; beyond either it fails.
`make fuzz` looks further, with other random numbers each time; a case that it finds belongs into
corpus/, where every run replays it.
"""

import os
import resource
import signal
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = int(os.environ.get("YOLO_FUZZ", 0))  # of each test; 0: the fixed ones of every run
BUDGET = settings(
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
SECONDS = 2


class Beyond(BaseException):
    """Not an Exception: no handler in the package may take it for bad input."""


@contextmanager
def bounded(megabytes, seconds=SECONDS):
    """Fails the block where it takes more processor time, or tries to take more memory."""

    def stop(*_):
        raise Beyond(f"more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (megabytes << 20), hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, before)


def corpus(kind):
    """The files of corpus/KIND."""
    return sorted((CORPUS / kind).iterdir())


NUMBERS = st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])


@st.composite
def damaged(draw, seeds):
    """One of the seeds (bytes), a few bytes changed, numbers overwritten, parts cut or twice."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["byte", "number", "cut", "twice", "end", "insert"]))
        length = draw(st.integers(1, 40))
        if kind == "byte":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "number":
            wide = draw(st.sampled_from([2, 4, 8]))
            order = draw(st.sampled_from(["little", "big"]))
            data[at : at + wide] = (draw(NUMBERS) % (1 << 8 * wide)).to_bytes(wide, order)
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "twice":
            data[at:at] = data[at : at + length] * draw(st.sampled_from([1, 2, 50]))
        elif kind == "end":
            del data[at:]
        else:
            data[at:at] = draw(st.binary(max_size=12))
    return bytes(data)

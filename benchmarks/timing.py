"""Two functions timed side by side, so that whatever else the machine does falls on both.

Pairs run in the order ours, peer, peer, ours (ABBA): a slow drift cancels. A sample repeats short
functions until it is long enough to time. Ratios are peer's time by ours: above 1 ours is quicker.
"""

import math
import platform
import statistics
import time
from datetime import date
from pathlib import Path
from typing import NamedTuple

import torch

SAMPLE = 2e-3  # seconds that one sample lasts at least
WARM = 0.2  # seconds of a call that is not changed by what ran before it


class Pair(NamedTuple):
    ours: float  # median seconds of one call
    peer: float
    ratio: float  # median of the pairs' ratios
    spread: float  # half the distance between their quartiles


# "processor" counts the calling thread's processor time alone: on a machine shared with other
# programs it is the steadier figure for work that runs on one thread.
CLOCKS = {"wall": time.perf_counter, "processor": time.thread_time}


def seconds(function, calls, clock=time.perf_counter):
    start = clock()
    for _ in range(calls):
        function()
    return (clock() - start) / calls


def calls_for(function):
    """Calls that fill one sample, after one call to warm up."""
    function()
    return max(1, math.ceil(SAMPLE / max(seconds(function, 1), 1e-7)))


def paired(ours, peer, repeats, clock="wall"):
    """Pair of `repeats` ABBA rounds."""
    calls, clock = (calls_for(ours), calls_for(peer)), CLOCKS[clock]
    samples = []
    for _ in range(repeats):
        first = seconds(ours, calls[0], clock), seconds(peer, calls[1], clock)
        second = seconds(peer, calls[1], clock), seconds(ours, calls[0], clock)
        samples += [first, second[::-1]]
    sides = list(zip(*samples, strict=True))
    return Pair(*map(statistics.median, sides), *ratio(*sides))


PAUSE = 5e-3  # seconds in which the last contestant's threads fall asleep


def race(contestants, repeats, pause=PAUSE):
    """{name: seconds of each round}: all in turn, every second round in the opposite order.

    Before each sample stands a pause, then one call that is not counted (unless a call is so long
    that caches do not matter), so that none pays for its predecessor.
    """
    calls = {name: calls_for(function) for name, function in contestants.items()}
    rounds = {name: [] for name in contestants}
    for i in range(repeats):
        order = list(contestants.items())
        for name, function in order if i % 2 == 0 else reversed(order):
            time.sleep(pause)
            if not rounds[name] or rounds[name][-1] < WARM:
                function()
            rounds[name].append(seconds(function, calls[name]))
    return rounds


def ratio(ours, peer):
    """Median of the rounds' ratios peer / ours, and half the distance between their quartiles."""
    ratios = [b / a for a, b in zip(ours, peer, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return statistics.median(ratios), (high - low) / 2


def geometric_mean(values):
    return math.exp(statistics.fmean(math.log(v) for v in values))


def header(threads):
    """One line: the machine, versions and date, without which no figure means anything."""
    return (
        f"# {processor()}, {threads} threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {date.today()}"
    )


def processor():
    """The processor's name, as Linux knows it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

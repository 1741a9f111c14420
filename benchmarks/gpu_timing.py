"""Two functions timed side by side on a GPU, in pairs whose order turns (ABBA).

A side is a list of functions that do the same work on buffers of their own: calls go round, so
that the inputs of one do not lie in the second-level cache when it comes again. Each sample lasts
long enough to time. Ratios are the peer's time by ours: above 1 ours is quicker.
"""

import gc
import itertools
import json
import math
import statistics
import subprocess
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

from yolo.files import atomic

SAMPLE = 3e-4  # seconds that one sample lasts at least
COLD = 180e6  # bytes of buffers that no second-level cache holds
MOST_SETS = 16


class Ratio(NamedTuple):
    ours: float  # median seconds of one call
    peer: float
    ratio: float  # median over the pairs
    low: float  # its 95% interval, by resampling the pairs
    high: float


def sets_for(bytes_each, cold=True):
    """How many sets of buffers make the inputs cold."""
    return max(1, min(MOST_SETS, math.ceil(COLD / bytes_each))) if cold else 1


def timed(function, repeats):
    """Seconds of one call, from `repeats` of them."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(repeats):
        function()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / repeats


def rotating(functions):
    """One function that calls the next of them each time."""
    turn = itertools.cycle(functions)
    return lambda: next(turn)()


def compare(ours, peer, pairs=50, clock=timed):
    """Ratio of two lists of functions."""
    sides = rotating(ours), rotating(peer)
    for side in sides * 3:
        side()
    repeats = [max(1, round(SAMPLE / max(clock(side, 3), 1e-9))) for side in sides]
    samples = []
    for i in range(pairs):
        order = (0, 1) if i % 2 == 0 else (1, 0)
        found = {side: clock(sides[side], repeats[side]) for side in order}
        samples.append((found[0], found[1]))
    mine, theirs = (statistics.median(side) for side in zip(*samples, strict=True))
    return Ratio(mine, theirs, *interval([b / a for a, b in samples]))


def interval(ratios, resamples=2000):
    """(median, low, high): the 95% interval of the median by the bootstrap."""
    ratios = np.asarray(ratios, np.float64)
    chosen = np.random.default_rng(0).integers(0, len(ratios), (resamples, len(ratios)))
    medians = np.median(ratios[chosen], axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return float(np.median(ratios)), float(low), float(high)


def footprint(build):
    """(what build() makes, the bytes that it keeps and needs at most during a call). Only tensors
    of PyTorch's allocator count; those of a CUDA graph stay, and are not seen."""
    gc.collect()
    before = torch.cuda.memory_allocated()
    side = build()
    for _ in range(2):  # the first calls make what stays, and measure what is fastest
        side()
    torch.cuda.reset_peak_memory_stats()
    side()
    return side, torch.cuda.max_memory_allocated() - before


def require_gpu(what):
    """Ends a program, the name of which is `what`, that can measure nothing here."""
    if not torch.cuda.is_available():
        raise SystemExit(f"{what}: this machine, or this build of torch, has no GPU")


class Tries:
    """Many measurements, of which one that fails is said, and ends no other."""

    def __init__(self):
        self.failed = []

    @contextmanager
    def of(self, what):
        try:
            yield
        except (RuntimeError, ValueError, Wrong) as error:
            print(f"{what}: {error}", flush=True)
            self.failed.append(what)

    def finish(self):
        """Ends the program as failed where one of them did."""
        if self.failed:
            raise SystemExit(f"not measured: {', '.join(self.failed)}")


class Wrong(Exception):
    """Two sides do not compute the same."""


def machine():
    """What a figure means nothing without."""
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "nvidia-smi": clocks(),
    }


def clocks():
    """Those of the GPU just now; nothing where nvidia-smi is not installed."""
    query = "name,driver_version,clocks.sm,clocks.mem"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""


def at_its_best(precision):
    """cuDNN as fast as it goes in this precision."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def graphed(function):
    """The function as a CUDA graph, whose calls give the same tensors each time."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = function()

    def replay():
        graph.replay()
        return results

    return replay


def save(path, content):
    """The figures so far, if there are any: what ends a long run leaves a whole file of them."""
    if path and content["rows"]:
        atomic(path, json.dumps(content | {"after": machine()}, indent=1))


def relative(ours, peer):
    """Relative L2 distance of two lists of tensors; NaN where either holds one."""
    ours, peer = (torch.cat([t.detach().flatten().double() for t in side]) for side in (ours, peer))
    return float((ours - peer).norm() / peer.norm())

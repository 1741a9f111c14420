"""What a server has done so far, in the text format of Prometheus (version 0.0.4)."""

import os
import time
from bisect import bisect_left
from collections import Counter
from pathlib import Path

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds

STAGES = ("upload", "decode", "queue", "network")  # of a request


class Histogram:
    """How many values lie below each of some bounds."""

    def __init__(self, bounds=BOUNDS):
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value):
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name):
        total = 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self.sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """Written and read by the event loop's thread alone."""

    def __init__(self):
        self.started = time.time()
        self.answers = Counter()  # (path, status) -> requests
        self.dropped = 0  # connections beyond the limit
        self.objects = 0
        self.images = Histogram((1, 2, 4, 8, 16, 32, 64))  # in one pass of the network
        self.stages = {stage: Histogram() for stage in STAGES}

    def detected(self, found, seconds):
        """One request's detections, and how long each stage took."""
        self.objects += len(found)
        for stage, duration in seconds.items():
            self.stages[stage].add(duration)

    def text(self, waiting, held):
        """waiting: requests without an answer; held: bytes of their bodies."""
        return "\n".join(self._lines(waiting, held)) + "\n"

    def _lines(self, waiting, held):
        yield from _head("yolo_requests_total", "counter", "Requests answered")
        for (path, status), count in sorted(self.answers.items()):
            yield f'yolo_requests_total{{path="{path}",status="{status}"}} {count}'
        for name, kind, text, value in (
            ("yolo_objects_total", "counter", "Objects found", self.objects),
            ("yolo_connections_dropped_total", "counter", "Beyond the limit", self.dropped),
            ("yolo_waiting", "gauge", "Uploaded and not answered yet", waiting),
            ("yolo_held_bytes", "gauge", "Bodies in memory", held),
            ("process_start_time_seconds", "gauge", "Since 1970", f"{self.started:.3f}"),
            ("process_resident_memory_bytes", "gauge", "Memory in use", resident_bytes()),
        ):
            yield from _head(name, kind, text)
            yield f"{name} {value}"
        yield from _head("yolo_batch_images", "histogram", "Images in one pass of the network")
        yield from self.images.lines("yolo_batch_images")
        for stage, histogram in self.stages.items():
            name = f"yolo_{stage}_seconds"
            yield from _head(name, "histogram", f"Of a request: {stage}")
            yield from histogram.lines(name)


def _head(name, kind, text):
    return f"# HELP {name} {text}.", f"# TYPE {name} {kind}"


def resident_bytes():
    """This process's memory; 0 where the system has no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")

"""Requests on their way through the network.

    engine = Engine(net, metrics)
    found, seconds = await engine.detect(load, settings)       # while engine.work() runs

`load()` gives an image and runs in one of the decoding threads; the network has a thread of its own
and takes those that wait together as a batch. The event loop only hands on, so it alone touches
what is kept here, and no lock is needed.
"""

import asyncio
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from ..data.image import Placement, fit
from ..errors import YoloError
from ..inference import inference
from ..predict import detect, detection_heads, stacked
from .limits import busy

DECODERS = min(4, os.cpu_count() or 1)  # threads; each may hold an image of the largest size


class Settings(NamedTuple):
    """Of a request; those with the same ones may share a batch."""

    thresh: float
    nms: float
    letterbox: bool


@dataclass(eq=False)
class Job:
    """An image that waits for the network."""

    settings: Settings
    x: torch.Tensor  # (3, height, width) of the network
    place: Placement
    image_size: tuple[int, int]
    seconds: dict[str, float]  # stage -> how long it took
    ready: float  # when it began to wait
    result: asyncio.Future | None = None  # Detections


class Engine:
    """Images -> Detections for many askers at once.

    batch: images in one pass of the network, once at least half of them wait; fewer go one by one.
    waiting: askers at a time; one more is refused.
    """

    def __init__(self, net, metrics, batch=1, waiting=32, precision=None):
        check(net)
        self.net, self.metrics, self.batch, self.limit = net, metrics, batch, waiting
        self.runs = {size: inference(net, size, precision) for size in {1, batch}}
        self.inside = 0  # askers without an answer
        self._jobs = deque()
        self._arrival = asyncio.Event()
        self._decoders = ThreadPoolExecutor(DECODERS, "decode")
        self._network = ThreadPoolExecutor(1, "network")

    def warm_up(self):
        """The first pass of each form takes longer: done before anybody waits for it."""
        grey = np.full((8, 8, 3), 127, np.uint8)
        for size in self.runs:
            self._look([self._prepare(lambda: grey, Settings(0.5, 0.5, False))] * size)

    def admit(self):
        """Refuses where detect() would."""
        if self.inside >= self.limit:
            raise busy(f"{self.inside} requests are waiting")

    async def detect(self, load, settings):
        """(Detections, {stage: seconds}) of the image that load() gives, and load()'s errors."""
        self.admit()
        self.inside += 1
        try:
            loop = asyncio.get_running_loop()
            job = await loop.run_in_executor(self._decoders, self._prepare, load, settings)
            job.result = loop.create_future()
            self._jobs.append(job)
            self._arrival.set()
            return await job.result, job.seconds
        finally:
            self.inside -= 1

    async def work(self):
        """Takes the jobs through the network until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrival.wait()
            while jobs := self._next():
                try:
                    results = await loop.run_in_executor(self._network, self._look, jobs)
                except Exception as error:  # a fault of this program: the askers hear of it
                    results = [error] * len(jobs)
                for job, result in zip(jobs, results, strict=True):
                    _settle(job.result, result)
                self.metrics.images.add(len(jobs))
            self._arrival.clear()

    def close(self):
        """Ends the threads, at the end of what they do."""
        for threads in (self._decoders, self._network):
            threads.shutdown(cancel_futures=True)

    def _next(self):
        """The jobs of the next pass: those at the front with the same settings. Askers that gave
        up are passed over."""
        jobs = deque(job for job in self._jobs if not job.result.done())
        alike = [job for job in jobs if job.settings == jobs[0].settings][: self.batch]
        taken = alike if 2 * len(alike) >= self.batch else alike[:1]
        self._jobs = deque(job for job in jobs if job not in taken)
        return taken

    # ---- in the threads ----

    def _prepare(self, load, settings):
        started = time.perf_counter()
        image = load()
        x, place = fit(image, *self.net.input_shape[1:], settings.letterbox)
        ready = time.perf_counter()
        seconds = {"decode": ready - started}
        return Job(settings, torch.from_numpy(x), place, image.shape[:2], seconds, ready)

    def _look(self, jobs):
        """[Detections]"""
        started = time.perf_counter()
        run = self.runs[1 if len(jobs) == 1 else self.batch]
        inputs, places = stacked([job.x for job in jobs]), [job.place for job in jobs]
        thresh, nms, _ = jobs[0].settings
        found = detect(self.net, run, inputs, places, thresh, nms)
        done = time.perf_counter()
        for job in jobs:
            job.seconds |= {"queue": started - job.ready, "network": done - started}
        names = self.net.names
        return [c.detections(j.image_size, names) for j, c in zip(jobs, found, strict=True)]


def _settle(future, result):
    """Gives the asker, if still there, the result or the error."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def check(net):
    """Refuses networks that find no objects in photographs."""
    try:
        detection_heads(net)
    except ValueError as error:
        raise YoloError(str(error)) from None
    if net.input_shape[0] != 3:
        raise YoloError(f"{net.cfg_path}: takes {net.input_shape[0]} channels, and photos have 3")

"""A small network behind the server, in this process and on a real socket."""

import asyncio
import http.client
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install '.[serve]'")
pytest.importorskip("uvicorn", reason="the server needs uvicorn: pip install '.[serve]'")

import uvicorn.server

from yolo.cfg import parse
from yolo.network import Network
from yolo.serve.app import build
from yolo.serve.limits import Limits
from yolo.serve.queue import Engine, Settings
from yolo.serve.server import Server, listen, make

MICRO = """
[net]
width=64
height=32
channels=3

[convolutional]
filters=8
size=3
stride=8
pad=1
activation=leaky

[convolutional]
filters=21
size=1
activation=linear

[yolo]
mask=0,1,2
anchors=6,9, 20,11, 14,30
num=3
classes=2
"""
ROOT = Path(__file__).resolve().parents[2]
# It looks for its end ten times a second, and then waits for as long once more.
quick = {"sleep": lambda seconds: asyncio.sleep(seconds / 20)}
uvicorn.server.asyncio = SimpleNamespace(**vars(asyncio) | quick)
NET = Network(parse(MICRO), seed=0).eval()
DEFAULTS = Settings(thresh=0.25, nms=0.45, letterbox=False)


class Gate(Engine):
    """An engine whose network waits until it is opened."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.open, self.passes, self.entered = threading.Event(), [], 0

    def _look(self, jobs):
        self.entered += 1
        self.open.wait(20)
        self.passes.append(len(jobs))
        return super()._look(jobs)


@dataclass
class Live:
    """A server on a socket."""

    engine: Engine
    port: int
    server: Server

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method="POST", target="/detect", body=None, headers=None, timeout=20):
        """(status, headers, content)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, target, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, answer.headers, json.loads(content) if is_json else content


@contextmanager
def serving(engine, limits=None, defaults=DEFAULTS):
    """A Live server of the engine, on a free port."""
    limits = limits or Limits()
    listener = listen("127.0.0.1", 0)
    server = make(build(engine, defaults, limits), limits, engine.metrics)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield Live(engine, listener.getsockname()[1], server)
    finally:
        if isinstance(engine, Gate):
            engine.open.set()
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def started(files, *flags):
    """(process, port) of the command, run as a user runs it."""
    with subprocess.Popen(
        [sys.executable, "-m", "yolo", "serve", *files, "--port", "0", "--threads", "1", *flags],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process, int(process.stdout.readline().split()[0].rpartition(":")[2])
        finally:
            process.terminate()


def picture(height=48, width=60, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(image, extension=".png"):
    return cv2.imencode(extension, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()

"""Lets the tests of this folder import small_server.py, which pytest's importlib mode would not."""

import sys
from pathlib import Path

import pytest
import torch

from yolo import weights

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small only wait for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def engine():
    """The small network, ready for an application."""
    from small_server import NET

    from yolo.serve.metrics import Metrics
    from yolo.serve.queue import Engine

    made = Engine(NET, Metrics())
    yield made
    made.close()


@pytest.fixture
def gate():
    """The same behind a Gate, closed; two may ask at a time."""
    from small_server import NET, Gate

    from yolo.serve.metrics import Metrics

    made = Gate(NET, Metrics(), waiting=2)
    yield made
    made.open.set()
    made.close()


@pytest.fixture
def files(tmp_path):
    """[CFG, WEIGHTS] of the small network."""
    from small_server import MICRO, NET

    (tmp_path / "micro.cfg").write_text(MICRO)
    weights.save(NET, tmp_path / "micro.weights")
    return [str(tmp_path / "micro.cfg"), str(tmp_path / "micro.weights")]

"""The small network behind an engine, and in files."""

import pytest

from yolo import weights


@pytest.fixture(autouse=True)
def small(one_thread):
    pass


@pytest.fixture
def engine():
    """The small network, ready for an application."""
    from tests.serve.small_server import NET
    from yolo.serve.metrics import Metrics
    from yolo.serve.queue import Engine

    made = Engine(NET, Metrics())
    yield made
    made.close()


@pytest.fixture
def gate():
    """The same behind a Gate, closed; two may ask at a time."""
    from tests.serve.small_server import NET, Gate
    from yolo.serve.metrics import Metrics

    made = Gate(NET, Metrics(), waiting=2)
    yield made
    made.open.set()
    made.close()


@pytest.fixture
def files(tmp_path):
    """[CFG, WEIGHTS] of the small network."""
    from tests.serve.small_server import MICRO, NET

    (tmp_path / "micro.cfg").write_text(MICRO)
    weights.save(NET, tmp_path / "micro.weights")
    return [str(tmp_path / "micro.cfg"), str(tmp_path / "micro.weights")]

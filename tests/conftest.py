"""Fixtures that every test may use: seeds, and the reference data that lies beside a checkout."""

import gc
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from yolo import plot

gc.set_threshold(100_000, 50, 50)  # looking as often as usual takes a tenth of all time

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state; torch.manual_seed takes a millisecond, for
    devices that are not there."""
    torch.default_generator.manual_seed(0)


@pytest.fixture
def one_thread():
    """For small networks: they only wait for a second thread, long where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_chart(monkeypatch):
    """[what was to be drawn]: a chart takes longer than a small run, and has tests of its own."""
    drawn = []
    monkeypatch.setattr(plot, "chart", lambda *arguments, **_: drawn.append(arguments))
    return drawn


@pytest.fixture
def few_drawn(monkeypatch):
    """Eight drawn pictures are held out of a training; the usual two hundred take seconds."""
    monkeypatch.setattr("yolo.job.training_data.VALID_LENGTH", 8)


@pytest.fixture
def shared():
    """Folder with golden numbers, data and weights; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"reference data not found at {SHARED}")
    return SHARED


@pytest.fixture
def cfg_folder():
    """The network descriptions that the project ships."""
    return ROOT / "cfg"


@pytest.fixture(scope="module")
def load():
    """load("report"): a file of benchmarks/ as a module."""
    sys.path.insert(0, str(ROOT / "benchmarks"))

    def module(name):
        spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return found

    yield module
    sys.path.remove(str(ROOT / "benchmarks"))


def pytest_collection_finish(session):
    """Modules and tests stay to the end: the garbage collector need not look through them, which
    takes it half a second each time."""
    gc.collect()
    gc.freeze()

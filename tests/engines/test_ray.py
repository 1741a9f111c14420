"""Ray's workers: the same files as one process writes, also when a worker dies."""

import os
import signal
import threading
import time

import pytest

from yolo.__main__ import main
from yolo.data.listing import read_list
from yolo.engines import ray as engine
from yolo.engines.parts import cut
from yolo.engines.work import Job

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def session():
    """One Ray for all tests of this file, which takes seconds to start."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with engine._session(Job("", "", ""), 2):
        yield


def detect(network, source, out, *flags):
    flags = ["--part", "4", "--json-dir", str(out), "--threads", "1", *flags]
    return main(["detect", *network, source, *flags])


@pytest.mark.parametrize("kind", ["folder", "list", "bytes", "shards"])
def test_the_files_are_those_of_one_process(session, network, sources, tmp_path, kind):
    assert detect(network, sources[kind], tmp_path / "here") == 0
    assert (
        detect(network, sources[kind], tmp_path / "ray", "--engine", "ray", "--workers", "2") == 0
    )
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert len(names) >= 3
    assert names == sorted(path.name for path in (tmp_path / "ray").iterdir())
    for name in names:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes()

"""Ray's workers: the same files as one process writes, also when a worker dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from yolo.__main__ import main
from yolo.engines import ray as engine
from yolo.engines.parts import cut
from yolo.engines.work import Job

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.long
RAY = ("--engine", "ray", "--workers", "2")
ROOT = Path(__file__).resolve().parents[2]


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


def workers():
    """The process ids of this machine's actors that have a network."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, parent = (folder / "cmdline").read_bytes(), (folder / "stat").read_text()
        except OSError:
            continue
        if b"MapWorker" in name and parent.rpartition(")")[2].split()[0] != "Z":
            found.append(int(folder.name))
    return found


def test_a_worker_that_is_killed_is_replaced(session, network, pictures, tmp_path):
    """The list names each image many times, so that there is work left when a worker dies."""
    paths = sorted(pictures.iterdir())
    (tmp_path / "l.txt").write_text("".join(f"{path}\n" for path in paths * 100))
    parts, killed = cut([str(tmp_path / "l.txt")], 20), []
    job = Job(*network, str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    for done in engine.spread(job, [part.dumps() for part in parts], 2):
        assert done.images == 20 and not done.errors
        if not killed:
            killed = workers()
            assert len(killed) == 2
            os.kill(killed[0], signal.SIGKILL)
    assert len(list((tmp_path / "out").iterdir())) == len(parts)


def test_a_killed_job_goes_on(network, pictures, tmp_path):
    """The whole program, killed after its first part, then started again."""
    paths = sorted(pictures.iterdir())
    (tmp_path / "l.txt").write_text("".join(f"{path}\n" for path in paths * 200))
    out = tmp_path / "out"
    flags = ["--json-dir", str(out), "--part", "20", *RAY]
    command = [sys.executable, "-m", "yolo", "detect", *network, str(tmp_path / "l.txt"), *flags]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as process:
        while process.poll() is None and not list(out.glob("part-*")):
            time.sleep(0.05)
        process.kill()
    before = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert 0 < len(before) < 110
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert (done.returncode, done.stderr) == (0, "")
    assert "of 110 parts are done already" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(out.glob("part-*.jsonl"))) == 110
    lines = [len(path.read_text().splitlines()) for path in out.glob("part-*.jsonl")]
    assert lines == [20] * 110


def test_errors_of_workers_are_one_line(session, network, tmp_path):
    (tmp_path / "l.txt").write_text("a.png\n")
    parts = [part.dumps() for part in cut([str(tmp_path / "l.txt")], 20)]
    missing = Job(network[0], str(tmp_path / "gone.weights"), str(tmp_path))
    with pytest.raises(engine.EngineError, match=r"gone\.weights"):
        list(engine.spread(missing, parts, 1))


def test_ray_starts_small_and_tells_nobody(session):
    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()
    assert ray.cluster_resources()["object_store_memory"] <= engine.STORE

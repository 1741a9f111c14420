"""The files of a run where the disk does not play along."""

import os
import resource
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.train.small_run import network, trainer
from yolo import weights
from yolo.checkpoint import Series, read
from yolo.train import output
from yolo.train.output import OutputError, lock


def newest(folder):
    return Series(folder, "micro").newest(print)[1].state["iteration"]


class Full:
    """A disk that takes nothing any more, from a call on."""

    def __init__(self, monkeypatch):
        self.full = False
        fsync = os.fsync

        def flush(handle):
            if self.full:
                raise OSError(28, "No space left on device")
            fsync(handle)

        monkeypatch.setattr("os.fsync", flush)


def test_too_little_space_is_found_before_the_first_step(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=10**6))
    run = trainer(tmp_path, 5)
    with pytest.raises(OutputError, match=r"MB are needed.*1 MB are free.*--out"):
        run.run()
    assert run.net.iteration == 0 and not run.given


def test_a_folder_that_is_a_file_is_found_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    run = trainer(tmp_path / "file", 5)
    with pytest.raises(OSError):
        run.run()
    assert not run.given


def test_a_folder_that_may_not_be_written_is_found_before_the_first_step(tmp_path):
    """As another user where the tests run as root, who may write anywhere."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    run = trainer(folder / "out", 5)
    child = os.fork()
    if not child:
        if os.geteuid() == 0:
            os.chmod(tmp_path, 0o755)
            os.seteuid(65534)
        try:
            run.run()
        except OSError:
            os._exit(7 if not run.given else 8)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_disk_that_fills_up_does_not_end_the_training(tmp_path, monkeypatch):
    said, disk = [], Full(monkeypatch)
    monkeypatch.setattr(output, "RETRY", 0.0)

    def report(progress):
        disk.full = 4 <= progress.iteration < 8
        if progress.iteration in (4, 7) and not progress.mini_batch:
            assert newest(tmp_path) == 4

    run = trainer(tmp_path, 10, save_last_every=2, report=report, say=said.append)
    run.run()
    assert newest(tmp_path) == 10 and len(run.output.metrics) == 10
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 11
    assert any("No space left" in text for text in said)


def test_a_disk_that_stays_full_ends_in_an_error_and_keeps_the_last_good_state(
    tmp_path, monkeypatch
):
    disk = Full(monkeypatch)

    def report(progress):
        disk.full = progress.iteration >= 5

    run = trainer(tmp_path, 8, save_last_every=2, report=report)
    with pytest.raises(OSError, match="No space left"):
        run.run()
    assert newest(tmp_path) == 4
    assert not [p for p in tmp_path.iterdir() if ".ckpt." in p.name]
    kept = network(seed=3)
    weights.load(kept, tmp_path / "micro_last.weights")
    assert kept.iteration == 4


def test_files_that_may_not_grow(tmp_path):
    """A real refusal of the system, in the middle of a file."""
    run = trainer(tmp_path, 12, save_last_every=2, keep=0)
    child = os.fork()
    if not child:

        def report(progress):
            if progress.iteration == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

        run.report = report
        try:
            run.run()
        except OSError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert newest(tmp_path) == 4


def test_a_folder_that_vanishes_is_made_again(tmp_path):
    said = []

    def report(progress):
        if progress.iteration == 3 and not progress.mini_batch:
            shutil.rmtree(tmp_path / "out")

    run = trainer(tmp_path / "out", 6, save_last_every=2, report=report, say=said.append)
    run.output.texts = {"micro.cfg": "[net]\n"}
    run.run()
    assert newest(tmp_path / "out") == 6
    assert len((tmp_path / "out" / "metrics.csv").read_text().splitlines()) == 7
    assert (tmp_path / "out" / "micro.cfg").exists()
    assert any("vanished" in text for text in said)


@pytest.mark.skipif(sys.platform == "win32", reason="locks of Unix")
def test_two_runs_do_not_write_to_one_folder(tmp_path):
    held = lock(tmp_path / "x.lock")
    assert another_process_may_lock(tmp_path / "x.lock") == f"process {os.getpid()}"
    held.close()
    assert another_process_may_lock(tmp_path / "x.lock") == "yes"


def another_process_may_lock(path):
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        try:
            lock(path)
            answer = "yes"
        except OutputError as error:
            answer = str(error).partition("(")[2].partition(")")[0]
        os.write(write_end, answer.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write_end)
    with os.fdopen(read_end) as file:
        return file.read()


def test_a_killed_saves_leftovers_are_swept(tmp_path):
    left = [".micro.ckpt.abcd1234", ".micro_last.weights.abcd1234"]
    trainer(tmp_path, 1).run()
    for name in left:
        (tmp_path / name).write_bytes(b"half")
    trainer(tmp_path, 2, checkpoint=read(tmp_path / "micro.ckpt")).run()
    assert not any((tmp_path / name).exists() for name in left)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system may not be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_file_system_that_is_full(small_disk, monkeypatch):
    said = []
    monkeypatch.setattr(output, "RETRY", 0.0)

    def report(progress):
        filler = small_disk / "filler"
        if progress.iteration == 4 and not progress.mini_batch:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        if progress.iteration == 7 and not progress.mini_batch:
            assert shutil.disk_usage(small_disk).free == 0
            assert newest(small_disk) <= 4
            filler.unlink()

    run = trainer(small_disk, 10, save_last_every=2, report=report, say=said.append)
    run.run()
    assert any("No space left" in text for text in said)
    assert newest(small_disk) == 10

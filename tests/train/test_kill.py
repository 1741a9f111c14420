"""Runs that are really killed, at moments nobody chose, also in the middle of a save."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.train.small_run import assert_same, network, trainer
from yolo.checkpoint import Series, read

ENDLESS = 10**6  # iterations
CHANGES = (("random=0", "random=1"), ("learning_rate=0.01", "learning_rate=0.001"))


class Server:
    """Forks runs in a program of its own, so that a run begins at once."""

    def __enter__(self):
        root = str(Path(__file__).resolve().parents[2])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.train.small_run"],
            env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)

    def start(self, **job):
        """A run; gives its process id."""
        print(json.dumps(job), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def ended(self):
        """How the run ended: 0, or minus the signal."""
        return os.waitstatus_to_exitcode(int(self.process.stdout.readline()))


def kill_again_and_again(folder, kills, keep, rng):
    """Kills runs that save after every iteration; after each the newest checkpoint must be good
    and not behind the one before. Gives how many kills came during a save."""
    reached, saving = -1, 0
    with Server() as server:
        for _ in range(kills):
            process = server.start(out=str(folder), iterations=ENDLESS, keep=keep)
            await_iteration(folder, reached)
            time.sleep(rng.uniform(0, 0.08))
            os.kill(process, signal.SIGKILL)
            assert server.ended() == -signal.SIGKILL
            saving += any(p.name.startswith(".micro") and ".ckpt." in p.name for p in left(folder))
            said = []
            found = Series(folder, "micro").newest(said.append)
            assert found is not None and said == []
            assert found[1].state["iteration"] >= reached
            reached = found[1].state["iteration"]
        process = server.start(out=str(folder), iterations=ENDLESS, keep=keep)
        await_iteration(folder, reached + 4)
        os.kill(process, signal.SIGTERM)
        assert server.ended() == 0
    return saving


def await_iteration(folder, behind):
    """Waits until a checkpoint lies beyond an iteration, at most a minute."""
    until = time.monotonic() + 60
    while newest(folder, behind) is None and time.monotonic() < until:
        time.sleep(0.005)


def newest(folder, behind):
    """The iteration of the checkpoint once it is beyond `behind`."""
    try:
        iteration = read(folder / "micro.ckpt").state["iteration"]
    except OSError:
        return None
    return iteration if iteration > behind else None


def left(folder):
    return list(folder.iterdir())


def compare(folder, whole_folder):
    """The run that was killed so often is the run that never was. Both have the same end, since
    the sizes of the last iterations follow from it, and are told to stop long before."""
    found = read(folder / "micro.ckpt")
    last = found.state["iteration"]

    def stop(progress):
        if progress.iteration == last and not progress.mini_batch:
            os.kill(os.getpid(), signal.SIGTERM)

    settings = dict(save_last_every=10**9, save_every=10**9)
    whole = trainer(whole_folder, ENDLESS, network(CHANGES), report=stop, **settings)
    whole.run()
    assert whole.net.iteration == last
    again = trainer(folder, ENDLESS, network(CHANGES, seed=9), checkpoint=found)
    assert_same(whole, again)


def test_killed_a_few_times(tmp_path):
    kill_again_and_again(tmp_path / "a", 2, 1, random.Random(0))
    compare(tmp_path / "a", tmp_path / "b")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_killed_two_hundred_times(tmp_path):
    saving = kill_again_and_again(tmp_path / "a", 200, 2, random.Random(1))
    print(f"{saving} of 200 kills came during a save")
    assert saving > 5
    compare(tmp_path / "a", tmp_path / "b")

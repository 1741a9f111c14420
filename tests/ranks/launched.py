"""Real trainings under torchrun, for tests that harm them."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.train.small_run import MICRO
from yolo.checkpoint import CheckpointError, read

ROOT = Path(__file__).resolve().parents[2]


def write_cfg(folder):
    """micro.cfg, whose result does not depend on chance: dropout draws on each rank anew."""
    path = folder / "micro.cfg"
    text = MICRO.replace("probability=0.2", "probability=0").replace("batch=4", "batch=8")
    path.write_text(text.replace("learning_rate=0.01", "learning_rate=0.001"))
    return path


def arguments(cfg, out, iterations, *more):
    """Those of `train`."""
    run = ("--iterations", iterations, "--save-every", 5, "--workers", 1, "--threads", 1)
    return [str(a) for a in ("train", cfg, "--out", out, *run, *more)]


class Job:
    """torchrun with some ranks; `log` is the file of what all of them say."""

    def __init__(self, command, log, ranks=2, options=(), before=()):
        options = options or ("--standalone",)
        launch = [sys.executable, "-m", "torch.distributed.run", *options]
        self.log = Path(log)
        self.started = time.monotonic()
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [*before, *launch, f"--nproc-per-node={ranks}", "-m", "yolo", *command],
                env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def rank(self, number):
        """Process id of a rank that is running now."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                environment = (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # it has ended meanwhile
                continue
            if parent == self.process.pid and f"RANK={number}".encode() in environment:
                return int(folder.name)
        raise AssertionError(f"no rank {number}: {self.log.read_text()}")

    def end(self, seconds):
        """The exit code; the test fails where the job does not end in time."""
        return self.process.wait(seconds)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()


def await_iteration(out, iteration, job, seconds=120):
    """Waits for a checkpoint that is so far."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if reached(out) >= iteration:
            return
        assert job.process.poll() is None, job.log.read_text()
        time.sleep(0.05)
    raise AssertionError(f"iteration {iteration} not reached: {job.log.read_text()}")


def reached(out):
    """Iteration of the newest checkpoint, -1 where there is none."""
    try:
        return read(out / "micro.ckpt").state["iteration"]
    except (OSError, CheckpointError):
        return -1

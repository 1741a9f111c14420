"""Ranks that die or freeze under torchrun: the job ends in bounded time with a code that says so,
or goes on from its last checkpoint, and then gives what it would have given."""

import os
import signal

import pytest
import torch

from tests.ranks.launched import Job, arguments, await_iteration, reached, write_cfg
from yolo.checkpoint import read

pytestmark = pytest.mark.long
END = 40  # iterations
SILENCE = 25  # seconds that a rank is waited for; images of a loaded machine take their time
KILLED = 30  # seconds that torchrun gives a process to end by itself
BOUND = SILENCE + KILLED + 30  # of a loaded machine


def job(folder, out, *options, iterations=END):
    command = arguments(write_cfg(folder), out, iterations, "--rank-timeout", SILENCE)
    return Job(command, folder / "log", options=("--standalone", *options))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The checkpoint of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with job(folder, folder / "out") as run:
        assert run.end(120) == 0, run.log.read_text()
    return read(folder / "out" / "micro.ckpt")


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("harm", [signal.SIGKILL, signal.SIGSTOP])
def test_torchrun_goes_on_from_the_last_checkpoint(tmp_path, undisturbed, harm, rank):
    out = tmp_path / "out"
    with job(tmp_path, out, "--max-restarts=1") as run:
        await_iteration(out, 10, run)
        os.kill(run.rank(rank), harm)
        assert run.end(BOUND + 60) == 0, run.log.read_text()
    assert "going on from" in run.log.read_text()
    found = read(out / "micro.ckpt")
    assert found.state["iteration"] == END
    for name, tensor in undisturbed.tensors.items():
        assert name == "metrics" or torch.equal(tensor, found.tensors[name]), name


@pytest.mark.parametrize("harm, rank", [(signal.SIGKILL, 1), (signal.SIGSTOP, 0)])
def test_without_restarts_the_job_ends(tmp_path, harm, rank):
    out = tmp_path / "out"
    with job(tmp_path, out, iterations=10**6) as run:
        await_iteration(out, 10, run)
        os.kill(run.rank(rank), harm)
        assert run.end(BOUND) != 0
    assert reached(out) >= 10


def test_ctrl_c_stops_all_ranks_after_the_same_iteration(tmp_path):
    out = tmp_path / "out"
    with job(tmp_path, out, iterations=10**6) as run:
        await_iteration(out, 10, run)
        run.process.send_signal(signal.SIGINT)
        assert run.end(BOUND) != 0
    text = run.log.read_text()
    iteration = reached(out)
    assert f"SIGINT: stopped after iteration {iteration}; go on with --resume" in text
    assert "has left" not in text
    lines = (out / "metrics.csv").read_text().splitlines()
    assert lines[-1].startswith(f"{iteration},")

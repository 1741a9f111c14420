"""`together`: a job of jobs.py on several ranks, and what each of them left."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="package")
def server():
    """A program that forks ranks."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ranks.server"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.stdin.close()
    process.wait(30)


@pytest.fixture
def together(server, tmp_path):
    """Function of the number of ranks, the job and its arguments: a folder of what they left."""
    made = []

    def run(ranks, job, /, codes=None, **arguments):
        folder = tmp_path / f"{len(made)}-of-{ranks}"
        folder.mkdir()
        made.append(folder)
        order = {"ranks": ranks, "job": job, "folder": str(folder), "arguments": arguments}
        print(json.dumps(order), file=server.stdin, flush=True)
        found = json.loads(server.stdout.readline())
        assert found == (codes or [0] * ranks)
        return folder

    return run

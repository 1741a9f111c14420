"""Ranks in milliseconds: a program that forks them for each line of JSON it reads, `ranks` times
`job(folder, **arguments)` of jobs.py, and answers with a line of JSON, their exit statuses."""

import json
import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from yolo import plot


def serve():
    """Answers until the input ends."""
    from tests.ranks import jobs

    torch.set_num_threads(1)
    plot.chart = lambda *_, **__: None  # drawing would take longer than all the rest
    with tempfile.TemporaryDirectory() as folder:
        jobs.train(Path(folder), iterations=1)  # loads what every rank would load again
    for line in sys.stdin:
        order = json.loads(line)
        children = [fork(jobs, rank, **order) for rank in range(order["ranks"])]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)


def fork(jobs, rank, ranks, job, folder, arguments, seconds=60):
    """One rank; gives its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if ranks > 1:
            store = dist.FileStore(str(Path(folder) / "store"), ranks)
            wait = timedelta(seconds=seconds)
            dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=wait)
        getattr(jobs, job)(Path(folder), **arguments)
        code = 0
    except BaseException as error:
        print(f"rank {rank}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()

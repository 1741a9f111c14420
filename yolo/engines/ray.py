"""Parts handed to workers by Ray Data: on this machine, or on the cluster of RAY_ADDRESS.

A row is a part as text, an actor has one network. Ray starts a worker that dies again, a few times,
and its parts are done again. Nothing is told to Ray's makers.
"""

import logging
import os
import sys
from contextlib import contextmanager

from ..errors import YoloError
from .parts import Part
from .work import Done, Worker

STORE = 96 << 20  # bytes of Ray's object store here: it holds text only
RETRIES = 3  # of a worker that died, and of the parts it had
BLOCKS = 1000  # tasks that Ray plans at most; more parts share one


class EngineError(YoloError, RuntimeError):
    """Ray is missing, or its workers failed."""


def spread(job, texts, workers):
    """Does the parts by `workers` processes; yields each Done as it comes."""
    with _session(job, workers) as ray:
        actors = {
            "num_cpus": job.threads,
            "num_gpus": 1 if job.device == "cuda" else 0,
            "max_restarts": RETRIES,
            "max_task_retries": RETRIES,
        }
        parts = ray.data.from_items(
            [{"part": text} for text in texts], override_num_blocks=min(len(texts), BLOCKS)
        )
        done = parts.map_batches(
            Actor,
            fn_constructor_args=(job,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            **actors,
        )
        try:
            for row in done.iter_rows():
                yield Done(**row | {"errors": list(row["errors"])})
        except ray.exceptions.RayError as error:
            raise _mended(error) from None


class Actor:
    """What Ray Data keeps in a worker process."""

    def __init__(self, job):
        self.worker = Worker(job)

    def __call__(self, batch):
        done = self.worker.look(Part.loads(str(batch["part"][0])))
        return {key: [value] for key, value in vars(done).items()}


@contextmanager
def _session(job, workers):
    """Ray, started here, or that of RAY_ADDRESS, or the one that runs in this process already."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray starts
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else it writes on our stderr
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise EngineError(f"--engine ray: {error}; pip install 'darknet-torch[ray]'") from None
    mine = not ray.is_initialized()
    if mine:
        _start(ray, job, workers)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


def _start(ray, job, workers):
    """Small: no dashboard, a small store, and one core more than the workers need, without which
    Ray Data has none left to read with."""
    local = dict(num_cpus=workers * job.threads + 1, object_store_memory=STORE)
    with _muted():
        ray.init(
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **{} if os.environ.get("RAY_ADDRESS") else local,
        )


@contextmanager
def _muted():
    """Ray's core writes on file descriptor 2 itself, among others which log level it was given.
    What fails is raised."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _mended(error):
    """What a worker raised, or what became of it, as an error of one line."""
    cause = getattr(error, "cause", None)
    while cause is not None and not isinstance(cause, YoloError | OSError):
        cause = getattr(cause, "cause", None) or cause.__cause__
    if cause is not None:
        return EngineError(str(cause))
    return EngineError(f"a worker of Ray failed: {str(error).strip().splitlines()[-1]}")

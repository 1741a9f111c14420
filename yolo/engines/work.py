"""One worker: a network that looks at parts, and writes a file of each."""

import io
import json
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from ..data.ahead import ahead
from ..files import atomic
from .parts import Part

FORMS = ("jsonl", "parquet")
READERS = 2  # threads of a worker that decode images ahead of the network


@dataclass(frozen=True)
class Job:
    """What is to be done with every part; the same for all workers."""

    cfg: str
    weights: str
    out: str
    form: str = "jsonl"
    names: tuple | None = None
    thresh: float = 0.25
    nms: float = 0.45
    letterbox: bool | None = None
    batch: int = 1
    precision: str | None = None
    device: str = "cpu"
    strict: bool = False
    threads: int = 1

    def file(self, number):
        """Where the detections of a part are written, complete or not at all."""
        return Path(self.out) / f"part-{number:06d}.{self.form}"


@dataclass(frozen=True)
class Done:
    """What is said about a part."""

    number: int
    images: int
    objects: int
    errors: list  # messages of images that could not be read
    started: float  # time.time()
    ended: float


class Worker:
    """Builds the network once."""

    def __init__(self, job):
        from .. import load

        self.job = job
        torch.set_num_threads(job.threads)
        self.net = load(job.cfg, job.weights, device=job.device, strict=job.strict)
        if job.names is not None:
            self.net.names = list(job.names)

    def look(self, part):
        """Detects in the images of a part and writes its file; returns a Done."""
        started, rows, errors = time.time(), [], []
        frames = enumerate(ahead(part.images(), READERS), start=part.first + 1)
        while batch := list(islice(frames, self.job.batch)):
            rows += self._batch(batch, errors)
        atomic(self.job.file(part.number), FORMATS[self.job.form](rows))
        objects = sum(len(row["objects"]) for row in rows)
        return Done(part.number, len(rows), objects, errors, started, time.time())

    def _batch(self, batch, errors):
        """The rows of a batch of (number, Frame): Darknet's JSON, and what could not be read."""
        job, rows = self.job, []
        found = iter(
            self.net.predict(
                [frame.image for _, frame in batch if frame.error is None],
                thresh=job.thresh,
                nms=job.nms,
                letterbox=job.letterbox,
                batch=job.batch,
                precision=job.precision,
            )
        )
        for number, frame in batch:
            if frame.error is None:
                rows.append(next(found).darknet_json(number, frame.path))
            else:
                errors.append(str(frame.error))
                rows.append({"frame_id": number, "filename": frame.path, "objects": []})
                rows[-1]["error"] = errors[-1]
        return rows


def _jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def _parquet(rows):
    import pyarrow
    from pyarrow import parquet

    number, text = pyarrow.float64(), pyarrow.string()
    box = pyarrow.struct([(name, number) for name in ("center_x", "center_y", "width", "height")])
    found = pyarrow.struct(
        [
            ("class_id", pyarrow.int32()),
            ("name", text),
            ("relative_coordinates", box),
            ("confidence", number),
        ]
    )
    columns = [("frame_id", pyarrow.int64()), ("filename", text), ("objects", pyarrow.list_(found))]
    schema = pyarrow.schema([*columns, ("error", text)])
    legible = [row | {"filename": _text(row["filename"])} for row in rows]
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(legible, schema), file)
    return file.getvalue()


def _text(name):
    """A name that need not be text, as text: Parquet holds nothing else."""
    return name.encode("utf-8", "backslashreplace").decode()


FORMATS = {"jsonl": _jsonl, "parquet": _parquet}


def here(job, texts):
    """Does the parts one after another in this process; yields each Done."""
    worker = Worker(job)
    for text in texts:
        yield worker.look(Part.loads(text))

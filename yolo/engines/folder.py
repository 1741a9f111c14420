"""The folder that detections are written to: what it is of, and which parts are done."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from ..errors import YoloError
from ..files import atomic
from ..legible import shown

OF_WORKERS = ("out", "threads")  # what a job may be continued without


class OutputError(YoloError, ValueError):
    """A folder that holds something else."""


def open_folder(job, sources):
    """Makes the folder, or checks that what is in it belongs to this job; `sources` tells what is
    looked at. Written to `job.json` before the first part."""
    folder = Path(job.out)
    folder.mkdir(parents=True, exist_ok=True)
    path, wanted = folder / "job.json", _described(job, sources)
    if not path.exists():
        if any(folder.glob("part-*")):
            raise OutputError(f"{shown(folder)}: holds parts, but no job.json that says of what")
        atomic(path, json.dumps(wanted, indent=1) + "\n")
        return
    try:
        found = json.loads(path.read_text())
        other = [key for key in wanted if found.get(key) != wanted[key]]
    except (ValueError, AttributeError):
        raise OutputError(
            f"{shown(path)}: cannot be read; remove the folder, or choose another"
        ) from None
    if other:
        raise OutputError(
            f"{shown(folder)}: holds detections of another job ({', '.join(other)} differ); remove "
            "it, or choose another folder"
        )


def _described(job, sources):
    described = {key: value for key, value in asdict(job).items() if key not in OF_WORKERS}
    for key in ("cfg", "weights"):
        described[f"{key}_sha256"] = hashlib.sha256(
            Path(described.pop(key)).read_bytes()
        ).hexdigest()
    return json.loads(json.dumps(described | {"sources": sources}))


def undone(job, parts):
    """The parts that have no file yet."""
    there = set(Path(job.out).glob("part-*"))
    return [part for part in parts if job.file(part.number) not in there]

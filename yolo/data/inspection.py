"""Every image and label of a `.data` file, looked at by several processes.

inspection = Inspection("my.data", size=(416, 416))
for finding in inspection.run():
    print(finding)
inspection.census["train"].boxes
"""

import multiprocessing
import os
import sys
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain

import cv2
import numpy as np

from .check import Finding, look
from .dataset import Dataset
from .lists import DataError, DataFile
from .loader import default_workers

PARTS = ("train", "valid")
CHUNK = 16  # entries that a process looks at before it answers
SIDES = np.geomspace(1, 4096, 61)  # edges of the histogram of box sides, in pixels of the network
ASPECTS = np.geomspace(1 / 32, 32, 61)  # edges of the histogram of width / height


class Census:
    """Counts over the images of one list; what is kept does not grow with them."""

    def __init__(self, size):
        self.size = size  # (height, width) of the network
        self.images = self.unlabelled = self.empty = self.boxes = 0
        self.classes = Counter()  # class -> boxes
        self.sides = np.zeros((len(SIDES) - 1,) * 2, np.int64)  # boxes by height and width
        self.aspects = np.zeros(len(ASPECTS) - 1, np.int64)  # boxes by width / height, in pixels

    def add(self, found):
        """Books one Look."""
        self.images += 1
        self.unlabelled += found.unlabelled
        if found.path and not found.unlabelled and not found.errors and not len(found.boxes):
            self.empty += 1
        self.boxes += len(found.boxes)
        self.classes.update(found.boxes[:, 0].astype(int).tolist())
        width, height = (found.boxes[:, 3:5].astype(np.float64) * self.size[::-1]).T
        low, high = SIDES[0], SIDES[-1] * (1 - 1e-9)
        sides = height.clip(low, high), width.clip(low, high)
        self.sides += np.histogram2d(*sides, bins=(SIDES, SIDES))[0].astype(np.int64)
        aspects = (width / height).clip(ASPECTS[0], ASPECTS[-1])
        self.aspects += np.histogram(aspects, bins=ASPECTS)[0]

    def to_dict(self, names=None):
        """Plain Python, fit for json.dump."""
        label = dict(enumerate(names or ()))
        return {
            "images": self.images,
            "unlabelled": self.unlabelled,
            "empty": self.empty,
            "boxes": self.boxes,
            "classes": {label.get(c, str(c)): n for c, n in sorted(self.classes.items())},
        }


class Inspection:
    """The lists of a `.data` file, to be looked at whole.

    size: (height, width) of the network.  classes: of the network, else as the file says.
    """

    def __init__(self, path, size=(416, 416), classes=None):
        self.path, self.size = os.fspath(path), size
        self.file = DataFile.read(path)
        self.names = self.file.names()
        self.classes = classes or self.file.classes or (len(self.names) if self.names else None)
        present = [part for part in PARTS if self.file.get(part)]
        if not present:
            raise DataError(f"{self.path}: names neither a train nor a valid list")
        lists = {part: self.file.file(part) for part in present}
        self.same_list = len(lists) == 2 and os.path.samefile(*lists.values())
        if self.same_list:
            del lists["valid"]
        self.parts = {part: Dataset.from_data(path, part, self.classes) for part in lists}
        self.census = {part: Census(size) for part in self.parts}
        self.kinds = Counter()  # (is an error, kind) -> findings
        self._digests = {}  # of an image -> (part, index) where it was met first

    def __len__(self):
        return sum(len(dataset) for dataset in self.parts.values())

    @property
    def errors(self):
        """How many findings were errors."""
        return sum(count for (error, _), count in self.kinds.items() if error)

    def run(self, workers=None, progress=None):
        """Looks at everything, in order; yields each Finding. progress(done) is called often."""
        done = 0
        everything = chain([(None, None, self._about_the_file())], self._looks(workers))
        for part, found, findings in everything:
            if found is not None:
                self.census[part].add(found)
                findings = [*found.findings, *self._again(part, found)]
                done += 1
            for finding in findings:
                self.kinds[finding.error, finding.kind] += 1
                yield finding
            if progress:
                progress(done)

    def _about_the_file(self):
        """Findings about the .data file itself."""

        def finding(key, kind, text):
            line = self.file.values[key][1] if key in self.file.values else 0
            return Finding(self.path, line, kind, text, error=True)

        if self.same_list:
            text = "train and valid are the same list; what is measured was trained on"
            yield finding("valid", "in train and valid", text)
        for key, count in (("classes", self.file.classes), ("names", len(self.names or ()))):
            if count and self.classes and count != self.classes:
                text = f"{count} {'names' if key == 'names' else 'classes'}"
                yield finding(key, "number of classes", f"{text}; expected {self.classes}")

    def _again(self, part, found):
        """Findings about an image whose content was met before."""
        if found.digest is None:
            return
        first = self._digests.setdefault(found.digest, (part, found.index))
        if first == (part, found.index):
            return
        dataset, other = self.parts[part], self.parts[first[0]]
        where = dataset.path, dataset.entries[found.index].line
        same = f"{dataset.entries[found.index].text}: the same image as {other.where(first[1])}"
        if part == first[0]:
            yield Finding(*where, "duplicate image", same, error=False)
        else:
            yield Finding(*where, "in train and valid", same, error=True)

    def _looks(self, workers):
        """(part, Look, None) of every entry, in order."""
        workers = default_workers() if workers is None else workers
        jobs = [
            (part, range(first, min(first + CHUNK, len(dataset))))
            for part, dataset in self.parts.items()
            for first in range(0, len(dataset), CHUNK)
        ]
        made = (_parallel if workers else _here)(jobs, workers, self.parts, self.size)
        for (part, _), looks in zip(jobs, made, strict=True):
            for found in looks:
                yield part, found, None


# ---- the processes ----

_subject = None  # (parts, size) that a worker looks at


def _start(parts, size):
    global _subject
    _subject = parts, size
    cv2.setNumThreads(0)


def _chunk(part, indices):
    parts, size = _subject
    return [look(parts[part], index, size) for index in indices]


def _here(jobs, _, parts, size):
    for part, indices in jobs:
        yield [look(parts[part], index, size) for index in indices]


def _parallel(jobs, workers, parts, size):
    """The answers in order; only a few chunks are under way at a time."""
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(workers, context, _start, (parts, size))
    pending, waiting = deque(), iter(jobs)
    try:
        while True:
            while len(pending) < 4 * workers and (job := next(waiting, None)):
                pending.append((job, pool.submit(_chunk, *job)))
            if not pending:
                break
            (part, indices), answer = pending.popleft()
            try:
                yield answer.result()
            except BrokenProcessPool:
                raise DataError(
                    f"{parts[part].where(indices[0])}: a process died looking at this image or "
                    "one after it: out of memory, or a fault of the decoder; --workers 0 shows "
                    "which"
                ) from None
    finally:
        pool.shutdown(cancel_futures=True)

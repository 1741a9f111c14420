"""The files of a run: checkpoints, weights, metrics.csv, chart.png, the cfg and the names.

What can go wrong is looked for before the first step. Later on a disk that is full or away does
not end the training: it is said, the last good files stay, and the next try is a minute later.
"""

import os
import shutil
import time
from contextlib import contextmanager, suppress

from .. import plot, ranks, weights
from ..checkpoint import Series
from ..errors import YoloError
from ..files import atomic, leftovers
from .metrics import Metrics

RETRY = 60.0  # seconds between tries to save where the disk refuses
SPARE = 1 << 22  # bytes for metrics.csv, chart.png and other small files


class OutputError(YoloError, OSError):
    """The output folder cannot take what the run will write."""


class Output:
    """Writes the files of one run into `plan.out`.

    texts: file name -> content of small files that belong to the run; say: one line to the user.
    """

    def __init__(self, plan, columns, texts=None, say=lambda text: None):
        self.folder, self.name, self.plan, self.say = plan.out, plan.name, plan, say
        self.texts = texts or {}
        self.series = Series(self.folder, self.name, plan.keep)
        self.metrics = Metrics(self.folder / "metrics.csv", columns)
        self.lock = None
        self.refused = None  # when the disk last refused, by the clock of time.monotonic

    def prepare(self, checkpoint, net):
        """Finds before the first step that the folder cannot be written, is in use by another
        run, or has too little space; leaves a first checkpoint there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = lock(self.folder / f".{self.name}.lock")
        self.series.sweep()
        for path in self.folder.glob("*.weights"):
            for left in leftovers(path):
                left.unlink(missing_ok=True)
        self._check_space(checkpoint, net)
        self.write_texts()
        self.metrics.rewrite()
        self.series.save(checkpoint)

    def _check_space(self, checkpoint, net):
        """Room for the checkpoints kept and one being written, and for the weight files."""
        needed = (self.plan.keep + 2) * checkpoint.size() + 4 * 4 * weights.count(net) + SPARE
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise OutputError(
                f"{self.folder}: {needed / 1e6:.0f} MB are needed for checkpoints and weights, "
                f"{free / 1e6:.0f} MB are free; make room, choose another --out, or lower --keep"
            )

    def write_texts(self):
        """The small files: the cfg that is trained, the names of its classes."""
        for name, text in self.texts.items():
            atomic(self.folder / name, text)

    @contextmanager
    def attempt(self, what):
        """A block that writes: an OSError is said and remembered, and training goes on. A folder
        that has vanished is made again first."""
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True)
                self.say(f"{self.folder} had vanished and was made again")
                self.write_texts()
                self.metrics.close()
            yield
        except OSError as error:
            self.refused = time.monotonic()
            self.say(
                f"{what} could not be written: {error}; the last good one stays, next try soon"
            )

    def try_again(self):
        """Whether the disk refused, and a while ago."""
        return self.refused is not None and time.monotonic() - self.refused >= RETRY

    def book(self, row):
        """One more line of metrics.csv. Where the disk refuses it waits for the next save."""
        try:
            self.metrics.add(row)
        except OSError as error:
            if self.refused is None:
                self.say(f"metrics.csv could not be written: {error}; its rows are kept in memory")
            self.refused = self.refused or time.monotonic()
            self.metrics.close()

    def save(self, checkpoint):
        """The newest checkpoint."""
        if not self.metrics.path.exists():
            self.metrics.rewrite()
        self.series.save(checkpoint)
        self.refused = None

    def save_weights(self, net, suffix):
        """NAME_SUFFIX.weights."""
        weights.save(net, self.folder / f"{self.name}_{suffix}.weights")

    def chart(self, max_batches):
        """Rewrites chart.png."""
        if len(self.metrics):
            plot.chart(
                self.metrics.table, self.folder / "chart.png", max_batches, score=self.plan.score
            )

    def close(self):
        """Ends the run's claim on the folder."""
        self.metrics.close()
        if self.lock is not None:
            self.lock.close()


class Elsewhere(Output):
    """Of a rank that is not the first: it writes nothing, but for evidence, if it can."""

    @contextmanager
    def attempt(self, what):
        with suppress(OSError):
            yield

    def prepare(self, checkpoint, net):
        pass

    def book(self, row):
        pass

    def save(self, checkpoint):
        pass

    def save_weights(self, net, suffix):
        pass

    def chart(self, max_batches):
        pass


def open_output(*arguments):
    """The output of this rank."""
    return (Output if ranks.first() else Elsewhere)(*arguments)


def lock(path):
    """An open file that says that a run writes here; a second run is refused. The claim ends
    with the process, however it ends; None where the system has no such locks."""
    try:
        import fcntl
    except ImportError:
        return None
    file = path.open("a+")
    try:
        # a record lock: forked loader workers, which may outlive a killed run, do not hold it
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise OutputError(f"{path.parent}: another run (process {owner}) writes there") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file

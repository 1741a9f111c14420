"""metrics.csv: one line an iteration, and the same table in memory."""

import csv
import io
import math
from array import array
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from ..files import atomic
from .progress import BASIC, TIMES


def columns(net):
    """Columns for a network: those of the run, those of each layer with a loss."""
    heads = [layer for layer in net.layers if hasattr(layer, "loss")]
    own = [f"{part}_{head.index}" for head in heads for part in head.averages().columns()]
    return [*BASIC, *own, *TIMES]


class Metrics:
    """Rows of numbers; None and what is not finite are empty in the file and NaN in the table.

    A sequence of dicts. `add` appends to the file too, `rewrite` replaces it by the table: after
    an error of the file the rows wait there.
    """

    def __init__(self, path, names):
        self.path, self.names = Path(path), list(names)
        self.table = {name: array("d") for name in self.names}
        self.file = None

    def __len__(self):
        return len(self.table["iteration"])

    def __getitem__(self, index):
        row = {name: values[index] for name, values in self.table.items()}
        row = {name: None if math.isnan(value) else value for name, value in row.items()}
        return row | {"iteration": int(row["iteration"])}

    def __iter__(self):
        return (self[index] for index in range(len(self)))

    def add(self, row):
        """One more row, in the table first; OSError where the file does not take it."""
        self._append(row)
        if self.file is None:
            self.rewrite()
        else:
            self.file.write(self._lines([self[-1]]))
            self.file.flush()

    def _append(self, row):
        for name, values in self.table.items():
            value = row.get(name)
            values.append(math.nan if value is None else value)

    def rewrite(self):
        """The whole file anew, kept open for the rows to come."""
        self.close()
        atomic(self.path, ",".join(self.names) + "\n" + self._lines(self))
        self.file = self.path.open("a", newline="")

    def _lines(self, rows):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([_shown(row[name]) for name in self.names] for row in rows)
        return text.getvalue()

    def close(self):
        """Lets go of the file; whatever it says, the rows are in the table."""
        file, self.file = self.file, None
        if file is not None:
            with suppress(OSError):
                file.close()

    def read(self, iteration):
        """Takes over the rows up to an iteration that an earlier run left in the file."""
        with self.path.open(newline="") as file:
            for row in csv.DictReader(file):
                with suppress(ValueError, TypeError):  # a line that was cut off
                    numbers = {k: float(row[k]) for k in self.names if row.get(k)}
                    if numbers.get("iteration", math.inf) <= iteration:
                        self._append(numbers)

    def tensor(self):
        """(rows, columns) float64, for the checkpoint."""
        return torch.from_numpy(np.stack([np.array(v) for v in self.table.values()], axis=1))

    def restore(self, tensor, names):
        """The table of a checkpoint; columns that it lacks stay empty."""
        for row in tensor.tolist():
            self._append(dict(zip(names, row, strict=True)))


def _shown(value):
    if value is None or not math.isfinite(value):
        return ""
    return int(value) if float(value).is_integer() else repr(float(value))

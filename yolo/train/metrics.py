"""metrics.csv: one line an iteration."""

import csv
from pathlib import Path

METRICS = (
    "iteration",
    "loss",
    "avg_loss",
    "rate",
    "map",
    "images",
    "seconds",
    "wait_seconds",
    "images_per_second",
)


class MetricsFile:
    """metrics.csv, one line an iteration, flushed at once; goes on where an earlier run with
    the same folder stopped."""

    def __init__(self, path, iteration):
        self.path = Path(path)
        self.rows = self._earlier(iteration)

    def _earlier(self, iteration):
        if iteration == 0 or not self.path.is_file():
            return []
        with self.path.open(newline="") as file:
            rows = [
                {k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)
            ]
        kept = [row for row in rows if row["iteration"] <= iteration]
        return [row | {"iteration": int(row["iteration"])} for row in kept]

    def __enter__(self):
        self.file = self.path.open("w", newline="")
        self.writer = csv.DictWriter(self.file, METRICS)
        self.writer.writeheader()
        self.writer.writerows(self.rows)
        return self

    def write(self, row):
        self.writer.writerow({k: "" if v is None else v for k, v in row.items()})
        self.file.flush()

    def __exit__(self, *_):
        self.file.close()

"""gradients.csv of a training run as a heat map: layer by iteration."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ..errors import YoloError
from ..legible import shown
from ..trace import write_png

COLUMNS = 800  # stretches of iterations that are drawn; of each its geometric mean
LABELS = 45  # layers that are named; of more every second, third ...


class GradientsError(YoloError, ValueError):
    """A file that is no gradients.csv; the message begins with file and line."""


def read(path):
    """(iterations (n,), names of layers, norms (n, layers)); NaN where a cell is empty."""
    with open(path, newline="", encoding="utf-8", errors="backslashreplace") as file:
        rows = list(csv.reader(file))
    names = rows[0][1:] if rows else []
    if not names or rows[0][0] != "iteration" or not all(n.split("_")[0].isdigit() for n in names):
        raise GradientsError(
            f"{shown(path)}:1: expected 'iteration' and a column for each layer, as train "
            "--log-gradients writes them"
        )
    table = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            if number == len(rows):
                break  # the last line of a run that was killed
            raise GradientsError(f"{shown(path)}:{number}: {len(row)} cells of {len(rows[0])}")
        try:
            table.append([float(cell) if cell else np.nan for cell in row])
        except ValueError as error:
            raise GradientsError(f"{shown(path)}:{number}: {error}") from None
    if not table:
        raise GradientsError(f"{shown(path)}: holds no iteration yet")
    values = np.array(table)
    return values[:, 0], names, values[:, 1:]


def draw(path, out):
    """Writes the picture of a file as PNG: above, the norm over all layers; below, each layer's,
    grey where there is none."""
    iterations, names, norms = read(path)
    total = np.sqrt(np.nansum(norms**2, axis=1))
    edges, cells = stretches(iterations, np.where(norms > 0, norms, np.nan))
    height = min(14, 2.6 + 0.16 * len(names))
    figure = Figure(figsize=(10, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.3, height - 2.3))
    above.plot(iterations, np.where(total > 0, total, np.nan), color="#1f4e9c", linewidth=0.9,
               marker="o" if len(total) == 1 else "")  # fmt: skip
    above.set_yscale("log")
    above.set_ylabel("all layers")
    above.grid(True, color="#eeeeee", linewidth=0.6)
    title = "L2 norm of the gradient by each layer, for the mean loss of an image"
    above.set_title(f"{shown(Path(path).parent.name)}: {title}", loc="left", fontsize=10)
    mesh = below.pcolormesh(edges, np.arange(len(names) + 1), cells.T, norm=scale(cells),
                            cmap="viridis", rasterized=True)  # fmt: skip
    below.set_facecolor("#d8d8d8")
    below.set_ylim(len(names), 0)  # the first layer is on top
    step = -(-len(names) // LABELS)
    below.set_yticks(
        np.arange(0, len(names), step) + 0.5,
        [name.replace("_", " ", 1) for name in names[::step]],
        fontsize=7,
    )
    below.set_xlabel("iteration")
    figure.colorbar(mesh, ax=below, fraction=0.05, pad=0.01)
    write_png(figure, out)


def stretches(iterations, norms):
    """(edges (m + 1,), means (m, layers)) of at most COLUMNS stretches of rows."""
    firsts = np.unique(np.linspace(0, len(iterations), COLUMNS + 1).astype(int)[:-1])
    logs = np.log(norms)
    there = np.isfinite(logs)
    sums = np.add.reduceat(np.where(there, logs, 0), firsts)
    counts = np.add.reduceat(there.astype(int), firsts)
    with np.errstate(invalid="ignore"):
        means = np.exp(sums / np.where(counts, counts, np.nan))
    spacing = np.diff(iterations).min() if len(iterations) > 1 else 1
    edges = np.append(iterations[firsts] - spacing, iterations[-1])
    return edges, means


def scale(cells):
    """Colours from the 1st to the 99th percentile: single peaks do not darken the rest."""
    found = cells[np.isfinite(cells)]
    if not len(found):
        return LogNorm(1e-3, 1)
    low, high = np.quantile(found, (0.01, 0.99))
    return LogNorm(low, max(high, 1.01 * low), clip=True)

"""Pictures of a run: the training chart, and several drawn images on one sheet."""

import io
import math
import re
from itertools import accumulate, cycle

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from .files import atomic

LOSS, AVERAGE, MEAN_AP, RATE = "#b9cbe6", "#1f4e9c", "#c8402f", "#8a8a8a"
PART = re.compile(r"(.+-loss)_(\d+)")  # of the loss of one layer
PARTS = ("#3a923a", "#9467bd", "#e08214", "#17a2b8")
SMOOTH = 0.9  # of the parts, as of the average loss
POINTS = 2000  # drawn of a long run; more would not be told apart


def chart(table, path, max_batches=None, title=None, score="mAP"):
    """Writes loss, average loss, mAP and learning rate over the iterations as a PNG.

    table: name -> numbers, one an iteration: "iteration", "loss", "avg_loss", "rate", and "map"
    (0..1), as in metrics.csv, and parts of the loss such as "class-loss_19", of layer 19, if there
    are any; what is missing or not finite is left out.  max_batches: right end of the axis.  score:
    what "map" is called (classifiers: top 1).  The file is replaced in one step, so that a viewer
    never meets half of it.
    """
    figure = Figure(figsize=(10, 6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_rate(axes, table)
    _draw_loss(axes, table, max_batches)
    measured = _draw_map(axes, table, score)
    axes.set_title(title or _headline(table, measured, score), loc="left", fontsize=11)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    atomic(path, png.getvalue())


def _draw_loss(axes, table, max_batches):
    """Left axis, logarithmic: a detector's loss falls by orders of magnitude."""
    for key, colour, width, name in (
        ("loss", LOSS, 0.8, "loss"),
        ("avg_loss", AVERAGE, 1.8, "average loss"),
    ):
        x, y = column(table, key, positive=True)
        dot = "o" if len(x) == 1 else ""  # a line needs two points to be seen
        axes.plot(*thinned(x, y), color=colour, linewidth=width, marker=dot, label=name)
    _draw_parts(axes, table)
    axes.set_yscale("log")
    axes.set_xlabel("iteration")
    axes.set_ylabel("loss", color=AVERAGE)
    axes.set_xlim(0, max(1, max_batches or 0, *column(table, "loss")[0][-1:]))
    low, high = _bounds(table)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.5)))
    axes.grid(True, which="both", color="#eeeeee", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", frameon=bool(_parts(table)), framealpha=0.85, edgecolor="none")


def _draw_parts(axes, table):
    """The averages of what the loss is made of, where the layers with a loss say so."""
    for colour, (name, (x, y)) in zip(cycle(PARTS), _parts(table).items(), strict=False):
        axes.plot(*thinned(x, y), color=colour, linewidth=1.0, label=name)


def _parts(table):
    """Label -> (iterations, averages)."""
    found = {}
    for key in table:
        match = PART.fullmatch(key)
        x, y = column(table, key, positive=True) if match else ((), ())
        if len(x):
            name = f"layer {match[2]}, {match[1].replace('-', ' ')}"
            found[name] = x, np.array(list(accumulate(y, _smooth)))
    return found


def _smooth(average, value):
    return SMOOTH * average + (1 - SMOOTH) * value


def _bounds(table):
    """Of the loss axis: all averages, and 99 in 100 losses; single peaks are cut off."""
    losses, averages = column(table, "loss", True)[1], column(table, "avg_loss", True)[1]
    if not len(losses):
        return 0.1, 10.0
    averages = np.concatenate([averages, *(y for _, y in _parts(table).values())])
    shown = np.concatenate([averages, np.quantile(losses, [0.005, 0.995])])
    return shown.min() / 1.3, shown.max() * 1.3


def _draw_map(axes, table, score):
    """Right axis, percent. Gives the measured values."""
    x, y = column(table, "map")
    if not len(x):
        return y
    right = axes.twinx()
    right.plot(x, 100 * y, color=MEAN_AP, linewidth=1.8, marker="o", markersize=3.5)
    right.set_ylim(0, 100)
    right.set_ylabel(f"{score} %", color=MEAN_AP)
    best = int(np.argmax(y))
    right.annotate(
        f"{100 * y[best]:.1f} %",
        (x[best], 100 * y[best]),
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        color=MEAN_AP,
    )
    return y


def _draw_rate(axes, table):
    """A thin line over the whole height, without an axis of its own."""
    x, y = column(table, "rate")
    if not len(x) or y.max() <= 0:
        return
    scale = axes.twinx()
    scale.plot(*thinned(x, y / y.max()), color=RATE, linewidth=0.8, linestyle=":")
    scale.set_ylim(0, 1.05)
    scale.set_axis_off()
    scale.annotate(
        f"rate, top {y.max():.2g}", (x[0], 1.0), xytext=(4, 2), color=RATE,
        textcoords="offset points", fontsize=8,
    )  # fmt: skip


def _headline(table, measured, score):
    if not len(table["iteration"]):
        return "no iteration yet"
    parts = [f"iteration {int(table['iteration'][-1])}"]
    averages = column(table, "avg_loss")[1]
    if len(averages):
        parts.append(f"average loss {averages[-1]:.4g}")
    if len(measured):
        parts.append(f"{score} {100 * measured[-1]:.2f} % (best {100 * measured.max():.2f} %)")
    return "    ".join(parts)


def column(table, key, positive=False):
    """(iterations, values) where a value is there, finite, and above 0 if it must be."""
    x = np.asarray(table["iteration"], np.float64)
    y = np.asarray(table[key], np.float64) if key in table else np.full_like(x, np.nan)
    kept = np.isfinite(y) & (y > 0 if positive else True)
    return x[kept], y[kept]


def thinned(x, y):
    """At most POINTS of the points: of each stretch its lowest and highest, so that peaks stay."""
    if len(x) <= POINTS:
        return x, y
    edges = np.linspace(0, len(x), POINTS // 2 + 1).astype(int)[:-1]
    stretches = np.split(y, edges[1:])
    low = edges + [int(np.argmin(s)) for s in stretches]
    high = edges + [int(np.argmax(s)) for s in stretches]
    kept = np.unique(np.concatenate([low, high]))
    return x[kept], y[kept]


def contact_sheet(images, columns=None, width=1280, gap=8):
    """uint8 RGB images side by side on white, in rows of equal height: uint8 (H, width, 3).

    columns: images in a row, by default as many as make the sheet about 4:3.
    """
    images = [np.asarray(image) for image in images]
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(
                f"contact_sheet: image is {image.dtype} {image.shape}, expected uint8 (H, W, 3)"
            )
    if not images:
        raise ValueError("contact_sheet: no images")
    columns = columns or max(1, math.ceil(math.sqrt(len(images) * 4 / 3)))
    columns = min(columns, len(images))
    aspects = [image.shape[1] / image.shape[0] for image in images]
    bands = [
        _band(images[i : i + columns], aspects[i : i + columns], columns, width, gap)
        for i in range(0, len(images), columns)
    ]
    space = np.full((gap, width, 3), 255, np.uint8)
    return np.concatenate([part for band in bands for part in (band, space)][:-1])


def _band(images, aspects, columns, width, gap):
    """One row: all images of one height that together with the gaps fill the width."""
    missing = columns - len(images)  # of the last row: it keeps the scale of a full one
    total = sum(aspects) + missing * sum(aspects) / len(aspects)
    height = max(1, round((width - gap * (columns - 1)) / total))
    band = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for i, (image, aspect) in enumerate(zip(images, aspects, strict=True)):
        right = min(width, left + max(1, round(height * aspect)))
        if i == columns - 1:
            right = width  # takes what rounding left
        method = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_LINEAR
        band[:, left:right] = cv2.resize(image, (right - left, height), interpolation=method)
        left = min(right + gap, width - 1)
    return band

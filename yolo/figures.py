"""Figures of data sets and of measurements, as PNG: what is in a data set, how anchors fit."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .data.anchors import overlaps
from .files import atomic

FIRST, SECOND, GREY = "#1f4e9c", "#c8402f", "#8a8a8a"
MOST_CLASSES = 80  # shown by name; more would not be legible
MOST_POINTS = 20_000  # of a cloud


def census(parts, names, sides, aspects, path):
    """What is in a data set: boxes by class, by width and height, and by aspect ratio.

    parts: {"train": Census, ...}.  names: class names or None.  sides, aspects: edges of the
    histograms that a Census has.
    """
    figure, (classes, box_sides, shapes) = _figure(1, 3, (17, 5.5))
    _draw_classes(classes, parts, names)
    total = sum(part.sides for part in parts.values())
    height, width = next(iter(parts.values())).size
    if total.any():
        mesh = box_sides.pcolormesh(sides, sides, np.ma.masked_equal(total, 0), norm=LogNorm())
        figure.colorbar(mesh, ax=box_sides, label="boxes")
    box_sides.set(xscale="log", yscale="log", aspect="equal")
    box_sides.set(xlabel="width", ylabel="height")
    box_sides.axvline(width, color=GREY, linewidth=0.8)
    box_sides.axhline(height, color=GREY, linewidth=0.8)
    box_sides.set_title(f"boxes in pixels at {width}x{height}", loc="left", fontsize=10)
    for (part, counts), colour in zip(parts.items(), (FIRST, SECOND), strict=False):
        shapes.stairs(counts.aspects, aspects, color=colour, label=part)
    shapes.set(xscale="log", xlabel=f"width / height at {width}x{height}", ylabel="boxes")
    shapes.legend(frameon=False)
    _save(figure, path)


def _draw_classes(axes, parts, names):
    labels = sorted(set().union(*(part.classes for part in parts.values())))
    labels = sorted(labels, key=lambda c: -sum(p.classes[c] for p in parts.values()))
    labels = labels[:MOST_CLASSES]
    place = np.arange(len(labels))
    for k, ((part, counts), colour) in enumerate(zip(parts.items(), (FIRST, SECOND), strict=False)):
        thickness = 0.8 / len(parts)
        values = [counts.classes[c] for c in labels]
        axes.barh(place + k * thickness, values, thickness, color=colour, label=part)
    axes.set_yticks(place, [class_name(names, c) for c in labels])
    axes.tick_params(axis="y", labelsize=9 if len(labels) < 30 else 5)
    axes.invert_yaxis()
    axes.set_xlabel("boxes")
    boxes = ", ".join(f"{name}: {part.boxes} in {part.images} images" for name, part in
                      parts.items())  # fmt: skip
    axes.set_title(boxes, loc="left", fontsize=10)
    axes.legend(frameon=False, loc="lower right")


def class_name(names, number):
    """The name of a class, fit for a figure."""
    name = names[number] if names and 0 <= number < len(names) else f"class {number}"
    return plain(name)


def plain(text):
    """Text for a figure: printable, and no dollar taken for the begin of a formula."""
    return "".join(c if c.isprintable() else "?" for c in text).replace("$", r"\$")


def clusters(sizes, anchors, before, size, path):
    """Box sizes (n, 2) in pixels of the network's `size` (height, width), and the anchors (k, 2)
    that fit them; `before` are others to compare with, or None."""
    figure, ((cloud,),) = _figure(1, 1, (8, 8), squeeze=False)
    height, width = size
    chosen = np.random.default_rng(0).permutation(len(sizes))[:MOST_POINTS]
    nearest = overlaps(sizes[chosen], anchors).argmax(axis=1)
    cloud.scatter(*sizes[chosen].T, s=4, c=nearest, cmap="tab20", alpha=0.5, linewidths=0)
    for group, colour, label in ((before, GREY, "before"), (anchors, SECOND, "fitted")):
        for k, (w, h) in enumerate(() if group is None else group):
            line = "--" if label == "before" else "-"
            cloud.add_patch(
                Rectangle((0, 0), w, h, fill=False, color=colour, linestyle=line,
                          label=label if k == 0 else None)
            )  # fmt: skip
    cloud.set(xlim=(0, width), ylim=(0, height), xlabel="width", ylabel="height", aspect="equal")
    cloud.set_title(f"{len(sizes)} boxes at {width}x{height}", loc="left", fontsize=10)
    cloud.legend(frameon=False, loc="upper right")
    _save(figure, path)


def precision_recall(curves, names, path, title=""):
    """curves: (precision, recall) of each class, or None; and their mean over recall."""
    figure, ((axes,),) = _figure(1, 1, (8, 7), squeeze=False)
    present = [(c, *curve) for c, curve in enumerate(curves) if curve is not None]
    for c, precision, recall in (entry for entry in present if len(entry[1])):
        label = class_name(names, c) if len(present) <= 12 else None
        best = np.maximum.accumulate(precision[::-1])[::-1]  # at that recall or beyond
        best, recall = np.append(best[:1], best), np.append(0.0, recall)
        axes.step(recall, best, linewidth=0.9, alpha=0.6, label=label)
    if present:
        axes.plot(*_mean_curve(present), color="black", linewidth=2, label="mean of the classes")
        axes.legend(frameon=False, loc="lower left")
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall", ylabel="precision")
    axes.set_title(plain(title), loc="left", fontsize=10)
    _save(figure, path)


def _mean_curve(present):
    """(recall levels, mean over the classes of the best precision at that recall or beyond)."""
    levels = np.linspace(0, 1, 101)
    total = np.zeros_like(levels)
    for _, precision, recall in present:
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        total += envelope[np.searchsorted(recall, levels)]
    return levels, total / len(present)


def confusion(counts, names, path, title=""):
    """counts[truth, found], the last of each is nothing; shown as shares of each row."""
    side = min(24, 4 + 0.28 * len(counts))
    figure, ((axes,),) = _figure(1, 1, (side + 1, side), squeeze=False)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(image, ax=axes, label="share of the row", shrink=0.7)
    labels = [class_name(names, c) for c in range(len(counts) - 1)] + ["nothing"]
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set(xlabel="found", ylabel="truth")
    if len(labels) <= 12:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=8)
    axes.set_title(plain(title), loc="left", fontsize=10)
    _save(figure, path)


def _figure(rows, columns, size, **options):
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **options)


def _save(figure, path):
    """Writes the PNG in one step, so that a viewer never meets half of it."""
    png = io.BytesIO()
    figure.savefig(png, format="png")
    atomic(path, png.getvalue())

"""Draws the pictures of backpropagation.md into docs/pictures/:  python docs/pictures.py"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.patches import FancyBboxPatch, Rectangle  # noqa: E402

import yolo  # noqa: E402
from yolo.loss.box_delta import iou_gradient  # noqa: E402
from yolo.optimizer import DarknetSGD  # noqa: E402

BLUE, RED, GREY = "#1f4e9c", "#c8402f", "#8a8a8a"


def save(figure, name, folder):
    figure.savefig(
        folder / f"{name}.png", dpi=110, bbox_inches="tight", metadata={"Software": None}
    )
    plt.close(figure)


def graph(folder):
    """Two lines in a chain: values above the edges, gradients below, numbers of the text."""
    x, t, w1, b1, w2, b2 = 1.5, 0.8, 0.8, 0.2, 0.5, -0.1
    h = w1 * x + b1
    y = w2 * h + b2
    gy = y - t
    gh = gy * w2
    figure, axes = plt.subplots(figsize=(10, 3))
    nodes = {2: "w1 x + b1", 5: "w2 h + b2", 8: "(y - t)² / 2"}
    for at, text in nodes.items():
        box = FancyBboxPatch((at - 0.7, -0.3), 1.4, 0.6, "round,pad=0.08", fc="#eef3fb", ec=BLUE)
        axes.add_patch(box)
        axes.text(at, 0, text, ha="center", va="center")
    edges = [
        (0, 1.2, f"x = {x}", None),
        (2.8, 4.2, f"h = {h:g}", f"dL/dh = {gh:.3g}"),
        (5.8, 7.2, f"y = {y:g}", f"dL/dy = {gy:.3g}"),
        (8.8, 10, f"L = {gy * gy / 2:.3g}", "1"),
    ]
    for start, end, value, gradient in edges:
        axes.annotate(
            "", (end, 0.08), (start, 0.08), arrowprops={"arrowstyle": "->", "color": BLUE}
        )
        axes.text((start + end) / 2, 0.2, value, ha="center", color=BLUE)
        if gradient:
            arrow = {"arrowstyle": "->", "color": RED}
            axes.annotate("", (start, -0.1), (end, -0.1), arrowprops=arrow)
            axes.text((start + end) / 2, -0.32, gradient, ha="center", color=RED)
    parameters = {2: (w1, gh * x, b1, gh, 1), 5: (w2, gy * h, b2, gy, 2)}
    for at, (w, gw, b, gb, n) in parameters.items():
        axes.text(at, 0.75, f"w{n} = {w}   b{n} = {b}", ha="center", color=BLUE)
        gradients = f"dL/dw{n} = {gw:.3g}\ndL/db{n} = {gb:.3g}"
        axes.text(at, -0.9, gradients, ha="center", color=RED)
    axes.set(xlim=(-0.2, 10.2), ylim=(-1, 1))
    axes.axis("off")
    save(figure, "graph", folder)


def circle(folder):
    """The answers over the plane of the network trained in part 2."""
    generator = np.random.default_rng(0)
    points = generator.uniform(-1, 1, (200, 2))
    inside = (points**2).sum(1, keepdims=True) < 0.5
    net = yolo.load(ROOT / "cfg/bp.cfg").double().train()
    optimizer, images = DarknetSGD(net), torch.from_numpy(points)[:, :, None, None]
    for _ in range(1500):
        net.loss(images, torch.from_numpy(inside.astype(float))).total.backward()
        optimizer.step(rate=2.0, images=len(points))
    side = np.linspace(-1, 1, 100)
    plane = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    with torch.no_grad():
        answers = net(torch.from_numpy(plane)[:, :, None, None])[0].reshape(100, 100)
    figure, axes = plt.subplots(figsize=(4.6, 4))
    shown = axes.imshow(answers, origin="lower", extent=(-1, 1, -1, 1), cmap="RdBu", vmin=0, vmax=1)
    for flag, colour in ((True, BLUE), (False, RED)):
        chosen = points[inside[:, 0] == flag]
        axes.scatter(*chosen.T, s=12, c=colour, edgecolors="white", linewidths=0.5)
    axes.add_patch(plt.Circle((0, 0), 0.5**0.5, fill=False, ec="black", ls="--"))
    figure.colorbar(shown, label="answer")
    save(figure, "circle", folder)


def im2col(folder):
    """The four windows of a 4x4 image as four columns."""
    colours = ["#c8402f", "#1f4e9c", "#2e8b57", "#b8860b"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), width_ratios=(1, 1.3))
    for i in range(16):
        left.text(i % 4 + 0.5, i // 4 + 0.5, str(i), ha="center", va="center")
    for i in range(5):
        left.plot([0, 4], [i, i], color=GREY, lw=0.7)
        left.plot([i, i], [0, 4], color=GREY, lw=0.7)
    for n, colour in enumerate(colours):
        p, q = divmod(n, 2)
        inset = 0.05 + 0.05 * n
        corner = (q + inset, p + inset)
        side = 3 - 2 * inset
        left.add_patch(Rectangle(corner, side, side, fill=False, ec=colour, lw=2))
        for tap in range(9):
            value = (p + tap // 3) * 4 + q + tap % 3
            right.text(n + 0.5, tap + 0.5, str(value), ha="center", va="center", color=colour)
        right.add_patch(Rectangle((n + 0.06, 0.06), 0.88, 8.88, fill=False, ec=colour, lw=2))
    for tap in range(9):
        right.text(-0.15, tap + 0.5, f"w{tap // 3}{tap % 3}", ha="right", va="center", color=GREY)
    left.set_title("image, and its four 3x3 windows")
    right.set_title("columns: one a window, one row a tap")
    for axes, limits in ((left, (4.1, 4.1)), (right, (4.3, 9.1))):
        axes.set(xlim=(-0.9 if axes is right else -0.1, limits[0]), ylim=(limits[1], -0.1))
        axes.set_aspect("equal" if axes is left else 0.45)
        axes.axis("off")
    save(figure, "im2col", folder)


def square_fields(folder):
    """The pulls of the squared errors of YOLOv1 and v2, beside the cross-entropy of v3."""
    figure, (curves, *panels) = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    z = torch.linspace(-6, 6, 200)
    s = z.sigmoid()
    curves.plot(z, 1 - z, color=GREY, label="v1: 1 - z, no sigmoid")
    curves.plot(z, (1 - s) * s * (1 - s), color=RED, label="v2: (1 - s) s (1 - s)")
    curves.plot(z, 1 - s, color=BLUE, label="v3: 1 - s")
    curves.set(xlabel="z", ylabel="delta, for a target of 1", ylim=(-0.2, 2.2))
    curves.legend()
    side = torch.linspace(0.06, 0.94, 17, dtype=torch.float64)
    y, x = torch.meshgrid(side, side, indexing="ij")
    centre, target = torch.stack((x, y), -1).reshape(-1, 2), torch.tensor([0.7, 0.4])
    pulls = {"v1: t - v": target - centre}
    pulls["v2: (t - s) s (1 - s)"] = (target - centre) * centre * (1 - centre)
    for axes, (title, pull) in zip(panels, pulls.items(), strict=True):
        strength = pull.norm(dim=1)
        axes.quiver(*centre.T, *pull.T, strength, angles="xy", scale=12 * float(strength.max()))
        axes.plot(*target, "o", color=RED)
        axes.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[], aspect="equal", title=title)
    save(figure, "square-fields", folder)


def iou_fields(folder):
    """How the centre of a predicted box is pulled, by its position: derivatives, and Darknet's."""
    side = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    y, x = torch.meshgrid(side, side, indexing="ij")
    size = torch.full_like(x, 0.24)
    predicted = torch.stack((x, y, size, size), -1).reshape(-1, 4)
    truth = torch.tensor([[0.5, 0.5, 0.3, 0.2]], dtype=torch.float64).expand_as(predicted)
    figure, rows = plt.subplots(2, 4, figsize=(13, 6.9), layout="constrained")
    for source, panels in zip((derivative, iou_gradient), rows, strict=True):
        for axes, kind in zip(panels, ("iou", "giou", "diou", "ciou"), strict=True):
            pull = source(kind, predicted, truth)[:, :2]
            strength = pull.norm(dim=1, keepdim=True)
            arrows = pull / strength.clamp(min=1e-9) * (strength > 1e-6)
            colour = strength[:, 0].clamp(max=8)
            axes.quiver(*predicted[:, :2].T, *arrows.T, colour, angles="xy", scale=24)
            axes.add_patch(Rectangle((0.35, 0.4), 0.3, 0.2, fill=False, ec=RED, lw=2))
            axes.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[], aspect="equal", title=kind)
    rows[0, 0].set_ylabel("derivative")
    rows[1, 0].set_ylabel("Darknet's rule")
    save(figure, "iou-fields", folder)


def derivative(kind, predicted, truth):
    """Of the textbook IoU, GIoU, DIoU, CIoU by x, y, w, h, taken by autograd."""
    box = predicted.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(overlap(kind, box, truth).sum(), box)
    return gradient


def overlap(kind, box, truth):
    low, high = box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2
    low_t, high_t = truth[:, :2] - truth[:, 2:] / 2, truth[:, :2] + truth[:, 2:] / 2
    inter = (torch.minimum(high, high_t) - torch.maximum(low, low_t)).clamp(min=0).prod(1)
    union = box[:, 2:].prod(1) + truth[:, 2:].prod(1) - inter
    hull = torch.maximum(high, high_t) - torch.minimum(low, low_t)
    iou = inter / union
    if kind == "giou":
        return iou - (hull.prod(1) - union) / hull.prod(1)
    if kind in ("diou", "ciou"):
        iou = iou - ((box[:, :2] - truth[:, :2]) ** 2).sum(1) / (hull**2).sum(1)
    if kind == "ciou":
        angle = torch.atan(truth[:, 2] / truth[:, 3]) - torch.atan(box[:, 2] / box[:, 3])
        v = 4 / torch.pi**2 * angle**2
        alpha = (v / (1 - inter / union + v)).detach()
        iou = iou - alpha * v
    return iou


def regions(folder):
    """One region on a map, cut by roi_pool and by roi_align; the smooth L1 and its derivative."""
    left, top, right, bottom = 1.3, 0.8, 5.9, 4.4  # in cells
    figure, (pool, align, loss) = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    for axes in (pool, align):
        for i in range(8):
            axes.plot([0, 7], [i, i], color=GREY, lw=0.5) if i < 7 else None
            axes.plot([i, i], [0, 6], color=GREY, lw=0.5)
        outline = (left, top), right - left, bottom - top
        axes.add_patch(Rectangle(*outline, fill=False, ec=RED, lw=2))
        axes.set(xlim=(-0.1, 7.1), ylim=(6.1, -0.1), aspect="equal")
        axes.axis("off")
    pool.set_title("roi_pool 2x2: edges rounded to cells")
    rows, cols = roi_bins(top, bottom), roi_bins(left, right)
    for n, (row, col) in enumerate((r, c) for r in rows for c in cols):
        corner, inset = (col[0] + 0.1, row[0] + 0.1), 0.2
        size = col[1] - col[0] - inset, row[1] - row[0] - inset
        shade = (BLUE, "#2e8b57", "#b8860b", "#7b4fa3")[n]
        pool.add_patch(Rectangle(corner, *size, fc=shade, alpha=0.25, ec=shade, lw=1.5))
    align.set_title("roi_align 2x2: four points a bin")
    wide, high = (right - left) / 2, (bottom - top) / 2
    align.plot([left + wide] * 2, [top, bottom], color=RED, lw=1)
    align.plot([left, right], [top + high] * 2, color=RED, lw=1)
    steps = np.arange(4) / 4 + 1 / 8
    x, y = np.meshgrid(left + steps * (right - left), top + steps * (bottom - top))
    align.plot(x.ravel(), y.ravel(), "o", color=BLUE, ms=4)
    centres = np.meshgrid(np.arange(7) + 0.5, np.arange(6) + 0.5)
    align.plot(*(c.ravel() for c in centres), "+", color=GREY, ms=4)
    d = np.linspace(-3, 3, 301)
    smooth = np.where(abs(d) < 1, d * d / 2, abs(d) - 0.5)
    loss.plot(d, d * d / 2, color=GREY, label="square")
    loss.plot(d, smooth, color=BLUE, label="smooth L1")
    loss.plot(d, d.clip(-1, 1), color=RED, ls="--", label="its derivative")
    loss.set(ylim=(-1.3, 4), xlabel="distance")
    loss.legend(frameon=False, loc="upper center")
    save(figure, "regions", folder)


def roi_bins(low, high, bins=2):
    """Cells (first, last) of each bin, as roi_pool rounds them."""
    first, count = int(low + 0.5), int(high + 0.5) - int(low + 0.5) + 1
    return [(first + b * count // bins, first - (-(b + 1) * count // bins)) for b in range(bins)]


def main(folder=ROOT / "docs" / "pictures"):
    folder.mkdir(exist_ok=True)
    for draw in (graph, circle, im2col, square_fields, iou_fields, regions):
        draw(folder)


if __name__ == "__main__":
    main()

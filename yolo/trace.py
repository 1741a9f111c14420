"""One image through a network, forward and backward: how large every layer's output is, how
strongly what was found depends on it, and where in the picture.

The gradient is of the found objects' scores (objectness times class probability, summed over the
cells above the threshold; where none is above it, of the surest cell alone).
"""

import io
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .data.image import fit, read
from .errors import YoloError
from .files import atomic
from .predict import decode, detection_heads

NMS = 0.45
MAPS = 12  # layers whose maps are drawn
FORWARD, BACKWARD = "#1f4e9c", "#c8402f"


class TraceError(YoloError, ValueError):
    """A detection that is not there."""


@dataclass
class LayerTrace:
    """One layer: root mean squares over all elements, and means of |value| over the channels."""

    index: int
    section: str
    shape: tuple  # (C, H, W)
    activation: float
    gradient: float  # 0 where the score does not depend on the layer
    activation_map: np.ndarray  # (H, W)
    gradient_map: np.ndarray  # (H, W)

    def to_dict(self):
        """For JSON: the numbers without the maps."""
        keys = ("index", "section", "shape", "activation", "gradient")
        return {key: getattr(self, key) for key in keys}


@dataclass
class Trace:
    """What `trace` gives."""

    image: np.ndarray  # (H, W, 3) uint8, as the network saw it
    score: float  # what was differentiated
    cells: int  # how many cells it is the sum of
    box: tuple | None  # x1, y1, x2, y2 of the one detection, in pixels of `image`
    heat: np.ndarray  # (H, W): |d score / d image|, summed over the colours
    layers: list[LayerTrace]


def trace(net, path, thresh=0.25, letterbox=None, detection=None):
    """Trace of the image file at `path`; the network is left in evaluation mode.

    detection: 1 for the surest after suppression, 2 for the next...: its score alone."""
    net.eval()
    letterbox = bool(net.options.letter_box) if letterbox is None else letterbox
    pixels, _ = fit(read(path), *net.input_shape[1:], letterbox)
    x = torch.from_numpy(pixels)[None].to(next(net.parameters()))
    outputs = net.outputs(x.requires_grad_())
    box = None
    if detection is None:
        score, cells = found(net, outputs, thresh)
    else:
        score, box = one(net, outputs, thresh, detection)
        cells = 1
    tensors = [x, *outputs]
    reached = [t for t in tensors if t.requires_grad]  # regions of interest are constants
    known = dict(zip(reached, torch.autograd.grad(score, reached, allow_unused=True), strict=True))
    gradients = [torch.zeros_like(t) if known.get(t) is None else known[t] for t in tensors]
    layers = [
        LayerTrace(r.index, r.section.name, tuple(r.out_shape), rms(y), rms(g), mean(y), mean(g))
        for r, y, g in zip(net.layers, outputs, gradients[1:], strict=True)
    ]
    heat = gradients[0][0].abs().sum(0).cpu().numpy()
    image = (pixels.transpose(1, 2, 0) * 255).round().astype(np.uint8)
    return Trace(image, score.item(), cells, box, heat, layers)


def found(net, outputs, thresh):
    """(sum of the scores above the threshold or else the highest one, number of cells)."""
    scores = scores_of(net, outputs).amax(-1)
    above = scores[scores > thresh]
    return (above.sum(), len(above)) if len(above) else (scores.max(), 1)


def scores_of(net, outputs):
    """(cells of all heads, classes): objectness times class probability."""
    scores = []
    for _, head in detection_heads(net):
        _, objectness, classes = head.decode(outputs[head.index], net.input_shape[1:])
        scores.append((objectness[..., None] * classes).flatten(0, 1))
    return torch.cat(scores)


def one(net, outputs, thresh, number):
    """(score, box in pixels of the input) of the detection of that number, from 1."""
    heads = [outputs[index].detach() for index in net.heads]
    kept = decode(net, heads, thresh)[0].suppressed(NMS).detections(net.input_shape[1:])
    if not 1 <= number <= len(kept):
        raise TraceError(f"detection {number}: {len(kept)} were found above {thresh:g}")
    entry = kept[number - 1]
    scores = scores_of(net, outputs)[:, entry.class_id]
    return scores[(scores - entry.score).abs().argmin()], entry.box_xyxy


def rms(tensor):
    return float(tensor.detach().double().pow(2).mean().sqrt())


def mean(tensor):
    """(1, C, H, W), or (R, C, H, W) of regions -> (H, W)"""
    return tensor.detach().abs().mean((0, 1)).cpu().numpy()


def report(traced):
    """The table that is printed."""
    lines = [f"{'layer':<22}{'output':>18}{'activation':>14}{'gradient':>14}"]
    for layer in traced.layers:
        place = f"{layer.index:4d} {layer.section}"
        shape = " x ".join(map(str, layer.shape))
        lines.append(f"{place:<22}{shape:>18}{layer.activation:>14.5g}{layer.gradient:>14.5g}")
    lines.append(f"gradient of {traced.score:.4f}, the scores of {traced.cells} cells")
    return "\n".join(lines)


def draw(traced, path):
    """Writes the picture as PNG: heat map, sizes by layer, maps of some layers."""
    spatial = [layer for layer in traced.layers if min(layer.activation_map.shape) > 1]
    chosen = [spatial[i] for i in np.linspace(0, len(spatial) - 1, MAPS).round().astype(int)]
    figure = Figure(figsize=(16, 8), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(4, MAPS)
    draw_heat(figure.add_subplot(grid[:2, :4]), traced)
    draw_sizes(figure.add_subplot(grid[:2, 4:]), traced.layers)
    for column, layer in enumerate(chosen):
        title = f"{layer.index} {layer.section}"[:14]
        for row, values in ((2, layer.activation_map), (3, layer.gradient_map)):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(values, cmap="viridis" if row == 2 else "magma")
            axes.set(xticks=[], yticks=[])
            if row == 2:
                axes.set_title(title, fontsize=8)
            if column == 0:
                axes.set_ylabel("activation" if row == 2 else "gradient")
    write_png(figure, path)


def draw_heat_alone(traced, path):
    """Writes the heat map as PNG, with the box of the one detection."""
    height, width = traced.heat.shape
    figure = Figure(figsize=(8, 8 * height / width + 0.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw_heat(axes, traced)
    if traced.box is not None:
        x1, y1, x2, y2 = traced.box
        size = x2 - x1, y2 - y1
        axes.add_patch(Rectangle((x1, y1), *size, fill=False, edgecolor="white", linewidth=1.5))
    write_png(figure, path)


def write_png(figure, path):
    png = io.BytesIO()
    figure.savefig(png, format="png")
    atomic(path, png.getvalue())


def draw_heat(axes, traced):
    """The image, bright where moving a pixel moves the score."""
    top = np.quantile(traced.heat, 0.995) or 1.0
    strength = np.clip(traced.heat / top, 0, 1)[..., None]
    shown = traced.image / 255 * (0.25 + 0.75 * strength)
    axes.imshow(shown)
    axes.set_title(f"what moves the score {traced.score:.3f} ({traced.cells} cells)", fontsize=10)
    axes.set_axis_off()


def draw_sizes(axes, layers):
    """Root mean squares of outputs and gradients by layer."""
    index = [layer.index for layer in layers]
    for name, colour in (("activation", FORWARD), ("gradient", BACKWARD)):
        values = np.array([getattr(layer, name) for layer in layers])
        axes.plot(index, np.where(values > 0, values, np.nan), color=colour, marker=".", label=name)
    axes.set_yscale("log")
    axes.set_xlabel("layer")
    axes.set_title(
        "root mean square of each layer's output, and of the gradient by it", fontsize=10
    )
    axes.grid(True, color="#eeeeee")
    axes.legend(frameon=False)

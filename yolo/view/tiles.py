"""Filters and feature maps of a layer as a PNG of tiles."""

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..data.image import fit, read
from ..errors import YoloError
from ..layers.layer import times
from ..trace import write_png

MOST = 64  # maps, or filters on colours, that are drawn
SIDE = 24  # filters and channels of a table of kernels
MATRIX = 256  # the same where kernels are single numbers


class PlotError(YoloError, ValueError):
    """A picture that this network, or this layer, does not have."""


def layer_of(net, index):
    """The layer of that number; None: the first."""
    index = 0 if index is None else index
    if not 0 <= index < len(net.layers):
        raise PlotError(f"layer {index}: {net.cfg_path} has layers 0 to {len(net.layers) - 1}")
    return net.layers[index]


def filters(net, index=None):
    """(picture, title) of a convolution's weights as they stand, before batch normalisation.

    On three channels each filter is a tile in colours, grey where it is 0. Otherwise tiles are red
    where a weight is positive and blue where it is negative, a row for each filter and a column
    for each input channel; on a single channel they follow each other.
    """
    layer = layer_of(net, index)
    weight = kernels(layer)
    if weight is None:
        have = [str(other.index) for other in net.layers if kernels(other) is not None]
        raise PlotError(
            f"layer {layer.index} [{layer.section.name}] has no filters; these have: "
            f"{', '.join(have) or 'none'}"
        )
    weight = weight.detach().float().cpu().numpy()
    count, channels, height, width = weight.shape
    shown = min(count, MOST)
    what = f"{shown} of {count} filters"
    if channels == 3:
        picture = grid(coloured(weight[:shown]), columns_for(shown))
    elif channels == 1:
        part = weight[:shown, 0]
        picture = grid(signed(part, np.abs(part).max()), columns_for(shown))
    else:
        picture, (rows, columns) = table(weight)
        what = f"{rows} of {count} filters (rows), {columns} of {channels} channels"
    return picture, f"{heading(layer)}: {what}, {height} x {width}"


def kernels(layer):
    """A layer's weights (filters, channels, h, w), or None."""
    weight = getattr(layer, "weight", None)
    return weight if weight is not None and weight.dim() == 4 else None


def table(weight):
    """(picture, rows and columns) of the first kernels of (filters, channels, h, w)."""
    single = weight[0, 0].size == 1
    limit = MATRIX if single else SIDE
    part = weight[:limit, :limit]
    tiles = signed(part.reshape(-1, *weight.shape[2:]), np.abs(part).max())
    return grid(tiles, part.shape[1], gap=int(not single)), part.shape[:2]


def maps(net, path, index=None, letterbox=None):
    """(picture, title) of a layer's output for an image file, dark at each channel's least value
    and bright at its greatest."""
    layer = layer_of(net, index)
    keep_aspect = bool(net.options.letter_box) if letterbox is None else letterbox
    pixels, _ = fit(read(path), *net.input_shape[1:], keep_aspect)
    with torch.no_grad():
        outputs = net.eval().outputs(torch.from_numpy(pixels)[None].to(next(net.parameters())))
    y = outputs[layer.index][0].float().cpu().numpy()
    if not np.isfinite(y).all():
        raise PlotError(f"{heading(layer)}: its output is not finite")
    shown = y[:MOST]
    picture = grid(colormaps["viridis"](spread(shown))[..., :3], columns_for(len(shown)))
    return picture, (
        f"{heading(layer)}: {len(shown)} of {len(y)} maps, {y.shape[1]} x {y.shape[2]}, "
        f"values {y.min():.3g} to {y.max():.3g}"
    )


def heading(layer):
    return f"layer {layer.index} [{layer.section.name}] {times(layer.out_shape)}"


def columns_for(count):
    """Of a grid that is about as wide as it is high."""
    return max(1, int(np.ceil(np.sqrt(count))))


def coloured(weight):
    """(n, 3, h, w) -> (n, h, w, 3) in 0..1; 0 is grey, and each filter has its own scale."""
    top = np.abs(weight).max((1, 2, 3), keepdims=True)
    return (0.5 + weight / (2 * np.where(top > 0, top, 1))).transpose(0, 2, 3, 1)


def signed(values, top):
    """(n, h, w) -> (n, h, w, 3): white at 0, full red and blue at +-top."""
    return colormaps["RdBu_r"](0.5 + values / (2 * (top or 1)))[..., :3]


def spread(y):
    """(n, h, w), each from 0 to 1; one value everywhere: 0"""
    low, high = (f(y, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    return (y - low) / np.where(high > low, high - low, 1)


def grid(tiles, columns, gap=1):
    """(n, h, w, 3) in rows of `columns`, `gap` white pixels between them."""
    count, height, width, _ = tiles.shape
    rows = -(-count // columns)
    canvas = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for n, tile in enumerate(tiles):
        y, x = n // columns * (height + gap), n % columns * (width + gap)
        canvas[y : y + height, x : x + width] = tile
    return canvas


def save(picture, title, path):
    """As PNG with the title above."""
    figure = Figure(figsize=(9, 0.5 + 9 * picture.shape[0] / picture.shape[1]), dpi=110)
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.93))
    axes.imshow(picture, interpolation="nearest")
    axes.set_axis_off()
    write_png(figure, path)

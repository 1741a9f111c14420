"""A network's graph as SVG text: a box for each layer, with its shape and what it reads.

Layers stand below each other in the order of the cfg. A short arrow is the layer before; any other
source is a line that leaves its box to the right, runs down a lane of its own, and turns back into
each of its readers. A box's tooltip has its line in the cfg, operations and parameters.
"""

from xml.sax.saxutils import escape

from ..layers.layer import times
from ..summary import as_dict

PITCH, HEIGHT, WIDTH = 34, 24, 480  # of rows, of a box
LEFT, TOP, LANE = 16, 56, 14
FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"
COLOURS = {  # of boxes, by what a layer does
    "#dbe9fb": ("convolutional", "deconvolutional", "connected", "local"),
    "#d9f0dd": ("maxpool", "avgpool", "local_avgpool", "upsample", "reorg", "reorg3d", "crop"),
    "#ece3f7": ("route", "shortcut", "sam", "scale_channels"),
    "#fde3c8": ("yolo", "Gaussian_yolo", "region", "detection", "softmax", "cost", "contrastive"),
    "#f9d9e4": ("rnn", "gru", "lstm", "crnn", "conv_lstm"),
}
COLOUR_OF = {name: colour for colour, names in COLOURS.items() for name in names}
OTHER = "#ebebeb"
LINES = ("#1f77b4", "#d1495b", "#2e8b57", "#8e5ea2", "#c77d1e", "#4a8a94", "#7a6a58")


def svg(net):
    """The text of the file."""
    content = as_dict(net)
    layers = content["layers"]
    trunks = [(source, readers) for source, readers in readers_of(layers) if readers]
    lanes = lanes_of(trunks)
    width = 2 * LEFT + WIDTH + LANE * (2 + max(lanes.values(), default=0))
    height = TOP + PITCH * (len(layers) + 1) + LEFT
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' "
        f"width='{width}' height='{height}' {FONT} font-size='12'>",
        "<defs><marker id='head' viewBox='0 0 8 8' refX='8' refY='4' markerWidth='7' "
        "markerHeight='7' orient='auto'><path d='M0 0 L8 4 L0 8 z' fill='context-stroke'/>"
        "</marker></defs>",
        f"<rect width='{width}' height='{height}' fill='#ffffff'/>",
        *title(content),
        box(-1, "input", "", content["input"], "", "#ffffff"),
        *(layer_box(row) for row in layers),
        *(arrow(row["index"]) for row in layers if row["index"] - 1 in row["sources"]),
        *(trunk(source, readers, lanes[source], layers) for source, readers in trunks),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def readers_of(layers):
    """[(source, the layers that read it and do not stand right below it)] from the input on."""
    return [
        (source, [r["index"] for r in layers if source in r["sources"] and r["index"] > source + 1])
        for source in range(-1, len(layers))
    ]


def lanes_of(trunks):
    """{source: number of its lane}: short lines lie inside, and no two in a lane overlap."""
    lanes, taken = {}, []
    for source, readers in sorted(trunks, key=lambda t: (t[1][-1] - t[0], t[0])):
        span = source, readers[-1]
        free = (n for n, spans in enumerate(taken) if not any(meet(span, s) for s in spans))
        lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append(span)
        lanes[source] = lane
    return lanes


def meet(a, b):
    """Whether two ranges of rows, ends included, have one in common."""
    return a[0] <= b[1] and b[0] <= a[1]


# ---- parts ----


def title(content):
    name = escape(content["cfg"].replace("\\", "/").rsplit("/", 1)[-1])
    totals = (
        f"input {times(content['input'])}, {len(content['layers'])} layers, "
        f"{content['bflops']:.3f} BFLOPs, {content['parameters']:,} parameters"
    )
    yield f"<text x='{LEFT}' y='24' font-size='16' font-weight='bold'>{name}</text>"
    yield f"<text x='{LEFT}' y='43' fill='#555555'>{totals}</text>"


def top(index):
    """Upper edge of a layer's box; the input is layer -1."""
    return TOP + PITCH * (index + 1)


def layer_box(row):
    about = ", ".join(part for part in (str(row["filters"]), row["size"]) if part)
    if row["type"] in ("route", "shortcut"):
        about = f"of {about}"
    tip = (
        f"{row['index']} [{row['type']}], line {row['line']}: {times(row['input'])} to "
        f"{times(row['output'])}, {row['bflops']:.3f} BFLOPs, {row['parameters']:,} parameters, "
        f"sees {row['receptive_field']} pixels"
    )
    colour = COLOUR_OF.get(row["type"], OTHER)
    return box(row["index"], row["type"], about, row["output"], tip, colour)


def box(index, name, about, shape, tip, colour):
    y = top(index)
    line = y + HEIGHT / 2 + 4
    number = "" if index < 0 else index
    return (
        f"<g data-layer='{index}'><title>{escape(tip)}</title>"
        f"<rect x='{LEFT}' y='{y}' width='{WIDTH}' height='{HEIGHT}' rx='5' fill='{colour}' "
        f"stroke='#8a8a8a'/>"
        f"<text x='{LEFT + 34}' y='{line}' text-anchor='end' fill='#777777'>{number}</text>"
        f"<text x='{LEFT + 44}' y='{line}'>{escape(name)}</text>"
        f"<text x='{LEFT + 180}' y='{line}' fill='#444444'>{escape(about)}</text>"
        f"<text x='{LEFT + WIDTH - 10}' y='{line}' text-anchor='end'>{times(shape)}</text></g>"
    )


def arrow(index):
    """From the layer before."""
    x, y = LEFT + 64, top(index)
    return (
        f"<path data-source='{index - 1}' data-reader='{index}' d='M{x} {y - PITCH + HEIGHT} "
        f"V{y}' stroke='#555555' fill='none' marker-end='url(#head)'/>"
    )


def trunk(source, readers, lane, layers):
    """Out of a box, down its lane, and into each reader."""
    right, x = LEFT + WIDTH, LEFT + WIDTH + LANE * (lane + 1)
    start = top(source) + HEIGHT - 4
    paths = []
    for reader in readers:
        aside = [s for s in layers[reader]["sources"] if s != reader - 1]
        y = top(reader) + (HEIGHT - 6) * (aside.index(source) + 1) / (len(aside) + 1)
        paths.append(
            f"<path data-source='{source}' data-reader='{reader}' d='M{right} {start} H{x} "
            f"V{y:g} H{right}' marker-end='url(#head)'/>"
        )
    colour = LINES[lane % len(LINES)]
    return f"<g stroke='{colour}' stroke-width='1.4' fill='none'>{''.join(paths)}</g>"

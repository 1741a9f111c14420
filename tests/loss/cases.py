"""Heads, truths and states for the tests of losses."""

from types import SimpleNamespace

import torch

from yolo.cfg import parse
from yolo.network import Network

ANCHORS = [(10, 14), (23, 27), (37, 58), (12, 30), (42, 20), (50, 50)]
SHAPE = {"anchors", "num", "mask", "classes", "side", "tree"}


def head(section, filters=None, **keys):
    """The layer of a section whose attributes are these, else the defaults of a cfg."""
    keys = {"classes": 3} | keys
    text = {k: keys.pop(k) for k in list(keys) if k in SHAPE}
    if "anchors" in text:
        text["anchors"] = ", ".join(f"{w},{h}" for w, h in text["anchors"])
    count = text["num"]
    if "mask" in text:
        count = len(text["mask"])
        text["mask"] = ",".join(map(str, text["mask"]))
    if section == "detection":
        filters = filters or text["side"] ** 2 * (5 * count + text["classes"])
        keys["coords"] = 4
    each = 9 if section == "Gaussian_yolo" else 5
    filters = filters or count * (each + text["classes"])
    lines = [f"{k}={v}" for k, v in text.items()]
    lines += ["coords=4"] if keys.pop("coords", 0) else []
    net = ["[net]", "width=8", "height=8", "channels=1", "[conv]", "size=8", f"filters={filters}"]
    layer = Network(parse("\n".join([*net, f"[{section}]", *lines]))).layers[-1]
    for name, value in keys.items():
        assert hasattr(layer, name), name
        setattr(layer, name, value)
    return layer


def state(height=64, width=64, **more):
    """What a loss asks of its network."""
    return SimpleNamespace(
        **{"height": height, "width": width, "iteration": 0, "seen": 0, "filters": None} | more
    )


def choose(options):
    return options[int(torch.randint(len(options), ()))]


def random_boxes(images, classes, count):
    """Rows for some of the images, crowded, some of them unusable."""
    boxes = torch.rand(count, 6)
    boxes[:, 0] = torch.randint(max(1, images - 1), (count,))  # the last image has no objects
    boxes[:, 1] = torch.randint(classes, (count,))
    boxes[: count // 2, 2:4] = boxes[: count // 2, 2:4] * 0.2 + 0.3  # several share a cell
    boxes[:, 4:] = boxes[:, 4:] * 0.9 + 0.02
    for row in torch.randint(count, (2,)):
        column, value = choose([(1, -1.0), (1, classes), (2, 0.0), (2, 1.0), (3, 1.2), (4, 0.0)])
        boxes[row, column] = value
    return boxes

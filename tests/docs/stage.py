"""The folder in which a document's blocks run: the files that the documents speak of, tiny.

cfg/ has the project's networks with a sixteenth of the filters, at 64x64, for two iterations: the
same layers, and seconds instead of hours.
"""

import re
import shutil

import cv2
import numpy as np
import torch

from yolo import load, weights
from yolo.data import ShapeClasses, ShapesDataset

THINNER = 16
SMALL = {"width": 64, "height": 64, "batch": 4, "subdivisions": 1, "max_batches": 2, "burn_in": 0}
UNCHANGED = ("bp",)  # small as it is, and taught with
SIDE = 96  # pixels of the pictures
# Networks with weights, beside the images: name -> (cfg it is like, classes)
NETWORKS = {"yolov4-tiny": ("yolov4-tiny", 80), "my": ("yolov4-tiny", 3)}
HEADS = ("yolo", "gaussian_yolo", "region", "rpn", "fast_rcnn", "mtcnn")


def thin(text, classes=None):
    """A cfg with a sixteenth of the filters, except where a head reads them."""
    sections = re.split(r"(?m)^(?=\[)", text)
    for here, section in enumerate(sections):
        following = sections[here + 1] if here + 1 < len(sections) else ""
        head = following[1 : following.find("]")].lower() in HEADS
        if section.startswith("[net"):
            section = _set(section, SMALL).replace("policy=steps", "policy=constant")
        elif head and classes:
            section = re.sub(r"(?m)^filters=.*", f"filters={3 * (5 + classes)}", section)
        elif not head:
            section = re.sub(r"(?m)^(filters|output) *= *(\d+)", _thinner, section)
        if classes:
            section = re.sub(r"(?m)^classes *=.*", f"classes={classes}", section)
        sections[here] = section
    return "".join(sections)


def _thinner(match):
    return f"{match[1]}={max(4, int(match[2]) // THINNER)}"


def _set(section, values):
    for key, value in values.items():
        section = re.sub(rf"(?m)^{key} *=.*", f"{key}={value}", section)
    return section


def build(folder, root):
    """Fills the folder."""
    _networks(folder, root)
    _detection_data(folder)
    shutil.copytree(folder, folder / "BCCD", ignore=shutil.ignore_patterns("cfg", "*.weights"))
    (folder / "BCCD" / "my.data").rename(folder / "BCCD" / "bccd.data")  # of the page of results
    _photographs(folder)
    _classes(folder)


def _networks(folder, root):
    (folder / "cfg").mkdir()
    for path in sorted((root / "cfg").glob("*.cfg")):
        text = path.read_text()
        (folder / "cfg" / path.name).write_text(text if path.stem in UNCHANGED else thin(text))
    for name, (like, classes) in NETWORKS.items():
        path = folder / f"{name}.cfg"
        path.write_text(thin((root / "cfg" / f"{like}.cfg").read_text(), classes))
        save_weights(path)
    (folder / "coco.names").write_text("".join(f"class {k}\n" for k in range(80)))


def save_weights(cfg):
    """Random weights beside a cfg, such that it finds something in any picture."""
    net = load(cfg)
    with torch.no_grad():
        for name, buffer in net.named_buffers():
            if name.endswith("rolling_var"):
                buffer.fill_(1 / 3)
        for before, layer in zip(list(net.layers), list(net.layers)[1:], strict=False):
            if hasattr(layer, "decode"):
                before.bias.fill_(1.5)
    weights.save(net, cfg.with_suffix(".weights"))


def _picture(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.ascontiguousarray(image[..., ::-1]))


def _detection_data(folder):
    """my.data: eight images to train on, four held out, three classes."""
    for part, count in (("train", 8), ("valid", 4)):
        drawn = ShapesDataset(classes=3, length=count, size=SIDE, split=part)
        for k in range(count):
            sample, stem = drawn.load(k), folder / "images" / f"{part}-{k:02}"
            _picture(stem.with_suffix(".jpg"), sample.image)
            rows = [
                f"{int(row[0])} " + " ".join(f"{v:.6f}" for v in row[1:]) for row in sample.boxes
            ]
            stem.with_suffix(".txt").write_text("".join(f"{row}\n" for row in rows))
        names = [f"images/{part}-{k:02}.jpg\n" for k in range(count)]
        (folder / f"{part}.txt").write_text("".join(names))
    (folder / "my.names").write_text("".join(f"{name}\n" for name in drawn.names))
    (folder / "my.data").write_text(
        "classes = 3\ntrain = train.txt\nvalid = valid.txt\nnames = my.names\nbackup = out\n"
    )


def _photographs(folder):
    shutil.copy(folder / "images" / "valid-00.jpg", folder / "dog.jpg")
    (folder / "photos").mkdir()
    for k in range(3):
        shutil.copy(folder / "images" / f"valid-{k:02}.jpg", folder / "photos")
    video = cv2.VideoWriter(
        str(folder / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (SIDE, SIDE)
    )
    for k in range(4):
        video.write(cv2.imread(str(folder / "images" / f"valid-{k:02}.jpg")))
    video.release()


def _classes(folder):
    """classes.data: a classifier's images, whose class stands in their paths."""
    for part, count in (("train", 8), ("valid", 4)):
        drawn = ShapeClasses(classes=3, length=count, size=SIDE, split=part)
        paths = []
        for k in range(count):
            sample = drawn.load(k)
            name = drawn.names[int(sample.labels.argmax())].replace(" ", "-")
            paths.append(f"classes/{name}/{part}-{k:02}.jpg")
            _picture(folder / paths[-1], sample.image)
        (folder / f"classes-{part}.txt").write_text("".join(f"{p}\n" for p in paths))
    labels = [f"{name.replace(' ', '-')}/\n" for name in drawn.names]
    (folder / "classes-labels.txt").write_text("".join(labels))
    (folder / "classes.data").write_text(
        "classes = 3\ntrain = classes-train.txt\nvalid = classes-valid.txt\n"
        "labels = classes-labels.txt\ntop = 2\nbackup = out\n"
    )

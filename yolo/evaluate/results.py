"""What `detector valid` writes: every detection above 0.001, in files that other programs judge.

Suppression is at 0.6 there, boxes are cut at the edges of the image, and a box is one entry for
each class it may be. Numbers have six decimals, as Darknet's.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .. import boxes as box
from ..errors import YoloError
from ..files import atomic
from ..legible import shown

LOWEST, SUPPRESSION = 0.001, 0.6


class ResultsError(YoloError, ValueError):
    """Detections that a file format has no place for."""


@dataclass
class Entries:
    """The detections of one image, in Darknet's order: box by box, then by class."""

    boxes_xyxy: np.ndarray  # (n, 4) float64, relative to the image, not clipped
    scores: np.ndarray  # (n,)
    classes: np.ndarray  # (n,)
    shape: tuple  # (height, width) of the image
    path: str


def entries(seen):
    """Of what a Pass saw."""
    rows, classes = torch.nonzero(seen.found.probs, as_tuple=True)
    corners = box.xywh_to_xyxy(seen.found.boxes_xywh[rows].double()).numpy()
    scores = seen.found.probs[rows, classes].numpy()
    path = seen.path if seen.path is not None else str(seen.index + 1)
    return Entries(corners, scores, classes.numpy(), seen.shape, path)


# ---- COCO ----


def coco_records(found, image_id, categories):
    """Dicts as COCO's result files have them; boxes left, top, width, height in pixels."""
    height, width = found.shape
    pixels = (found.boxes_xyxy * (width, height, width, height)).clip(0, (width, height) * 2)
    return [
        {
            "image_id": image_id,
            "category_id": categories[label],
            "bbox": [round(v, 6) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(float(score), 6),
        }
        for (x1, y1, x2, y2), score, label in zip(
            pixels.tolist(), found.scores, found.classes.tolist(), strict=True
        )
    ]


class CocoFile:
    """`coco_results.json`."""

    def __init__(self, ids, categories):
        self.ids, self.categories, self.records = ids, categories, []

    def see(self, seen):
        self.records += coco_records(entries(seen), self.ids[seen.index], self.categories)

    def write(self, folder):
        """One record a line, as Darknet; gives the paths."""
        path = Path(folder) / "coco_results.json"
        lines = ",\n".join(json.dumps(record) for record in self.records)
        atomic(path, f"[\n{lines}\n]\n")
        return [path]


# ---- VOC ----


def voc_pixels(found):
    """Corners as VOC counts them, from 1, cut at the image: (n, 4)."""
    height, width = found.shape
    corners = found.boxes_xyxy * (width, height, width, height) + 1
    return corners.clip(1, (width, height) * 2)


class VocFiles:
    """`comp4_det_test_CLASS.txt` for each class: image, score, left, top, right, bottom."""

    def __init__(self, names):
        self.files = [f"comp4_det_test_{file_name(name)}.txt" for name in names]
        _all_different(self.files, names)
        self.lines, self.stems = [[] for _ in names], {}

    def see(self, seen):
        found = entries(seen)
        stem = own_stem(found.path, self.stems)
        for corners, score, label in zip(
            voc_pixels(found), found.scores, found.classes, strict=True
        ):
            numbers = " ".join(f"{v:.6f}" for v in (score, *corners))
            self.lines[label].append(f"{stem} {numbers}\n")

    def write(self, folder):
        """All files, empty ones too; gives their paths."""
        paths = [Path(folder) / name for name in self.files]
        for path, lines in zip(paths, self.lines, strict=True):
            atomic(path, "".join(lines))
        return paths


# ---- plain ----


class PlainFiles:
    """`IMAGE.txt` for each image, like its labels with the score as sixth value."""

    def __init__(self):
        self.texts, self.stems = {}, {}

    def see(self, seen):
        found = entries(seen)
        low, high = found.boxes_xyxy.clip(0, 1).reshape(-1, 2, 2).transpose(1, 0, 2)
        rows = np.concatenate([(low + high) / 2, high - low, found.scores[:, None]], axis=1)
        lines = [
            f"{label} " + " ".join(f"{v:.6f}" for v in row) + "\n"
            for label, row in zip(found.classes, rows, strict=True)
        ]
        self.texts[own_stem(found.path, self.stems)] = "".join(lines)

    def write(self, folder):
        """A file for each image; gives their paths."""
        paths = [Path(folder) / f"{stem}.txt" for stem in self.texts]
        for path, text in zip(paths, self.texts.values(), strict=True):
            atomic(path, text)
        return paths


def file_name(name):
    """A class name as part of a file name: no separators, nothing that cannot be printed."""
    return "".join("_" if c in '/\\:*?"<>|' or not c.isprintable() else c for c in name)


def own_stem(path, known):
    """The file name without its extension; `known` maps those of other images to their paths."""
    stem = Path(path).stem
    if known.setdefault(stem, path) != path:
        raise ResultsError(
            f"{shown(path)}: has the same name as {shown(known[stem])}, and results are kept by "
            "name; rename one of them, or use --format coco"
        )
    return stem


def _all_different(files, names):
    for file in files:
        same = [name for name, other in zip(names, files, strict=True) if other == file]
        if len(same) > 1:
            raise ResultsError(f"classes {same} would all be written to {file}; rename one")

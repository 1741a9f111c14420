"""Detections to and from what other programs keep them in.

    table = convert.to_pandas(net.predict("dog.jpg"))
    found = convert.from_supervision(tracker.update_with_detections(convert.to_supervision(found)))

supervision and pandas are needed only by the functions named after them. Darknet's and COCO's
records need nothing: Detections.to_darknet_labels and .to_coco write them, the functions here read
them. What has no score (a label, an annotation) is sure: 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .boxes import xywh_to_xyxy
from .data import labels
from .detections import COCO_CATEGORIES, Array, Detections
from .errors import YoloError

if TYPE_CHECKING:
    import pandas
    import supervision

CORNERS = ["x1", "y1", "x2", "y2"]
COLUMNS = ["path", "name", "class_id", "score", *CORNERS]  # of the table


class ConversionError(YoloError, ValueError):
    """What is given lacks something that Detections have, or says two things at once."""


class MissingPackage(YoloError, ImportError):
    """A package that one of these functions needs is not installed."""


def _needed(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingPackage(
            f"this conversion needs {package} ({error}): pip install {package}"
        ) from None


# ---- supervision ----


def to_supervision(found: Detections) -> supervision.Detections:
    """As its annotators and trackers take them; names are its `class_name`."""
    theirs: supervision.Detections = _needed("supervision").Detections(
        xyxy=found.boxes_xyxy.copy(),
        confidence=found.scores.copy(),
        class_id=found.classes.copy(),
        data={"class_name": found.labels.astype(str)},
        metadata={"names": found.names, "image_size": found.image_size, "path": found.path},
    )
    return theirs


def from_supervision(
    given: supervision.Detections,
    names: list[str] | None = None,
    image_size: tuple[int, int] | None = None,
    path: str | None = None,
) -> Detections:
    """names, image_size (height, width), path: where not given, those `to_supervision` left."""
    if given.class_id is None:
        raise ConversionError("from_supervision: class_id is None; give each box a class")
    known = given.metadata
    return Detections(
        given.xyxy,
        np.ones(len(given.xyxy)) if given.confidence is None else given.confidence,
        given.class_id,
        known.get("names") if names is None else names,
        known.get("image_size", (0, 0)) if image_size is None else image_size,
        known.get("path") if path is None else path,
    )


# ---- pandas ----


def to_pandas(found: Detections | Iterable[Detections]) -> pandas.DataFrame:
    """A row for each detection of one image or of several, with COLUMNS; boxes in pixels."""
    several = [found] if isinstance(found, Detections) else list(found)
    pandas = _needed("pandas")
    if not several:
        return pandas.DataFrame(columns=COLUMNS)
    return pandas.concat([_table(pandas, one) for one in several], ignore_index=True)


def _table(pandas: Any, found: Detections) -> Any:
    columns = {
        "path": np.array([found.path] * len(found), dtype=object),
        "name": found.labels,
        "class_id": found.classes,
        "score": found.scores,
    }
    return pandas.DataFrame(columns | dict(zip(CORNERS, found.boxes_xyxy.T, strict=True)))


def from_pandas(
    table: pandas.DataFrame,
    names: list[str] | None = None,
    image_size: tuple[int, int] = (0, 0),
) -> Detections:
    """The detections of one image; of a table of several, those of each group of its `path`."""
    missing = [name for name in COLUMNS[2:] if name not in table.columns]
    if missing:
        raise ConversionError(f"from_pandas: the table has no column {', '.join(missing)}")
    paths = [] if "path" not in table.columns else list(table["path"].dropna().unique())
    if len(paths) > 1:
        raise ConversionError(
            f"from_pandas: the table has {len(paths)} images ({paths[0]}, {paths[1]} ...); "
            'take one at a time: for path, rows in table.groupby("path")'
        )
    return Detections(
        table[CORNERS].to_numpy(np.float32),
        table["score"].to_numpy(np.float32),
        table["class_id"].to_numpy(),
        names,
        image_size,
        paths[0] if paths else None,
    )


# ---- COCO ----


def from_coco(
    records: Iterable[dict[str, Any]],
    image_id: int | None = None,
    names: list[str] | None = None,
    image_size: tuple[int, int] = (0, 0),
    categories: Sequence[int] = COCO_CATEGORIES,
    path: str | None = None,
) -> Detections:
    """Result records or annotations of one image, as Detections.to_coco writes them.

    image_id: which image, where the records are of several. categories[class] is the category id.
    """
    chosen = [r for r in records if image_id is None or _key(r, "image_id") == image_id]
    images = {_key(record, "image_id") for record in chosen}
    if len(images) > 1:
        raise ConversionError(
            f"from_coco: records of {len(images)} images {sorted(images)[:3]}; give image_id="
        )
    classes = {category: number for number, category in enumerate(categories)}
    unknown = {_key(record, "category_id") for record in chosen} - set(classes)
    if unknown:
        raise ConversionError(
            f"from_coco: category_id {min(unknown)} is none of the {len(classes)} known; give "
            "categories= with the id of each class"
        )
    corners = _corners([_key(record, "bbox") for record in chosen])
    scores = [record.get("score", 1.0) for record in chosen]
    labels = [classes[record["category_id"]] for record in chosen]
    return Detections(corners, np.array(scores), np.array(labels), names, image_size, path)


def _corners(boxes: list[list[float]]) -> Array:
    """x, y, width, height each -> (n, 4) x1, y1, x2, y2"""
    for box in boxes:
        if not hasattr(box, "__len__") or len(box) != 4:
            raise ConversionError(f"from_coco: bbox is {box}, expected x, y, width, height")
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return corners


def _key(record: dict[str, Any], key: str) -> Any:
    if key not in record:
        raise ConversionError(f"from_coco: a record has no {key!r}: {str(record)[:100]}")
    return record[key]


# ---- Darknet ----


def from_darknet_labels(
    file: str | PathLike[str],
    image_size: tuple[int, int],
    names: list[str] | None = None,
    path: str | None = None,
) -> Detections:
    """The boxes of a label file, in pixels of an image of (height, width); what Darknet mends is
    mended, and what makes the file unusable raises LabelError with file:line. path: the image's."""
    boxes, _ = labels.read(fspath(file), None if names is None else len(names))
    height, width = image_size
    corners = xywh_to_xyxy(torch.from_numpy(boxes[:, 1:])).numpy() * np.array(
        [width, height, width, height], np.float32
    )
    return Detections(corners, np.ones(len(boxes)), boxes[:, 0], names, image_size, path)

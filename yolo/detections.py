"""What was found in one image: boxes, scores and classes as arrays of equal length.

    dogs = found[(found.labels == "dog") & (found.scores > 0.5)]
    picture = dogs.draw(image)

Boxes are x1, y1, x2, y2 in pixels of the original image and may reach beyond its edges, as the
network left them; `clipped()` cuts them. One box with several classes is several entries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .drawing import class_colour, draw_entries, rgb_copy
from .legible import shown

__all__ = ["COCO_CATEGORIES", "Detection", "Detections", "class_colour"]

Array = NDArray[Any]

# Official category ids of the 80 COCO classes in Darknet's order (1 to 90 with gaps).
COCO_CATEGORIES = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


class Detection(NamedTuple):
    """One entry of Detections, in plain Python numbers."""

    name: str
    score: float
    box_xyxy: tuple[float, float, float, float]
    class_id: int

    def __str__(self) -> str:
        corners = " ".join(f"{value:.0f}" for value in self.box_xyxy)
        return f"{self.name} {self.score:.2f} [{corners}]"


@dataclass(eq=False, repr=False)
class Detections:
    """N detections of one image.

    boxes_xyxy (N, 4) float32, pixels      scores (N,) float32      classes (N,) int64
    image_size (height, width), names the list of class names or None, path where it came from
    frame its number in a video or of a camera, seconds since the first frame; None of an image
    """

    boxes_xyxy: Array
    scores: Array
    classes: Array
    names: list[str] | None = None
    image_size: tuple[int, int] = (0, 0)
    path: str | None = None
    frame: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        self.boxes_xyxy = _boxes(self.boxes_xyxy)
        count = len(self.boxes_xyxy)
        self.scores = _column("scores", self.scores, np.float32, count)
        self.classes = _column("classes", self.classes, np.int64, count)
        self.image_size = _size(self.image_size)
        self.path = None if self.path is None else str(self.path)
        self._check_values()

    def _check_values(self) -> None:
        for what, values in (("boxes_xyxy", self.boxes_xyxy), ("scores", self.scores)):
            if not np.isfinite(values).all():
                row = int(np.argwhere(~np.isfinite(values))[0][0])
                raise ValueError(f"Detections: {what}[{row}] is not finite: {values[row]}")
        if (self.classes < 0).any():
            row = int(np.argmax(self.classes < 0))
            raise ValueError(f"Detections: classes[{row}] is {self.classes[row]}, expected >= 0")

    @classmethod
    def empty(
        cls,
        image_size: tuple[int, int],
        names: list[str] | None = None,
        path: str | None = None,
    ) -> Detections:
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), names, image_size, path)

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Detection: ...

    @overload
    def __getitem__(self, index: slice | ArrayLike) -> Detections: ...

    def __getitem__(self, index: Any) -> Detection | Detections:
        """An integer gives one Detection; a slice, mask or index array gives Detections."""
        if isinstance(index, (int, np.integer)) and not isinstance(index, (bool, np.bool_)):
            return self._entry(int(index))
        if not isinstance(index, slice):
            index = self._checked_index(index)
        boxes, scores, classes = self.boxes_xyxy[index], self.scores[index], self.classes[index]
        return replace(self, boxes_xyxy=boxes, scores=scores, classes=classes)

    def _checked_index(self, given: Any) -> Array:
        index: Array = np.asarray(_on_cpu(given))
        if index.size == 0 and index.dtype != bool:
            index = index.astype(np.int64)  # [] arrives as float
        if index.ndim != 1 or index.dtype.kind not in "biu":
            raise IndexError(
                f"Detections: index of shape {index.shape} and type {index.dtype}; expected an "
                "integer, a slice, or one dimension of booleans or integers"
            )
        if index.dtype == bool and index.shape != (len(self),):
            raise IndexError(f"Detections: mask of shape {index.shape}, expected ({len(self)},)")
        return index

    def _entry(self, index: int) -> Detection:
        x1, y1, x2, y2 = (float(value) for value in self.boxes_xyxy[index])
        class_id = int(self.classes[index])
        return Detection(self.name(class_id), float(self.scores[index]), (x1, y1, x2, y2), class_id)

    def __iter__(self) -> Iterator[Detection]:
        return (self._entry(i) for i in range(len(self)))

    def name(self, class_id: int) -> str:
        """The name of a class; "class 7" where there is none."""
        if self.names is not None and 0 <= class_id < len(self.names):
            return self.names[class_id]
        return f"class {class_id}"

    @property
    def labels(self) -> Array:
        """The class name of every entry, (N,) strings: found[found.labels == "dog"]."""
        return np.array([self.name(c) for c in self.classes.tolist()], dtype=object)

    def sorted(self) -> Detections:
        """The surest first; equal scores keep their order."""
        return self[np.argsort(-self.scores, kind="stable")]

    def clipped(self) -> Detections:
        """Boxes cut at the edges of the image."""
        height, width = self.image_size
        boxes = self.boxes_xyxy.clip(0, np.array([width, height, width, height], np.float32))
        return replace(self, boxes_xyxy=boxes)

    def scaled(self, image_size: tuple[int, int]) -> Detections:
        """The same detections on a copy of the image that has another size."""
        (height, width), (new_height, new_width) = self.image_size, _size(image_size)
        if not height or not width:
            raise ValueError(f"Detections: image_size {self.image_size} is unknown, cannot scale")
        x, y = new_width / width, new_height / height
        boxes = self.boxes_xyxy * np.array([x, y, x, y], np.float32)
        return replace(self, boxes_xyxy=boxes, image_size=(new_height, new_width))

    def __repr__(self) -> str:
        where = f", {shown(self.path)}" if self.path else ""
        where += "" if self.frame is None else f", frame {self.frame}"
        height, width = self.image_size
        return f"<Detections: {len(self)} in {width}x{height}{where}>"

    def __str__(self) -> str:
        """A table: name, percent, left, top, right, bottom."""
        wide = max((len(shown(name)) for name in self.labels), default=0)
        rows = [
            f"  {shown(entry.name):<{wide}}  {100 * entry.score:3.0f}%  "
            + " ".join(f"{value:7.1f}" for value in entry.box_xyxy)
            for entry in self
        ]
        return "\n".join([repr(self)[1:-1], *rows])

    # ---- to other forms ----

    def to_dict(self) -> dict[str, Any]:
        """Plain Python, fit for json.dump; frame and seconds where there are any."""
        entries = [
            {"name": e.name, "class_id": e.class_id, "score": e.score, "box_xyxy": list(e.box_xyxy)}
            for e in self
        ]
        known: dict[str, Any] = {} if self.frame is None else {"frame": self.frame}
        if self.seconds is not None:
            known["seconds"] = round(self.seconds, 6)
        size = list(self.image_size)
        return known | {"path": self.path, "image_size": size, "detections": entries}

    def darknet_json(self, frame_id: int = 1, filename: str | None = None) -> dict[str, Any]:
        """One frame of the file that `darknet detector test -out` writes; relative coordinates."""
        return {
            "frame_id": int(frame_id),
            "filename": filename if filename is not None else (self.path or ""),
            "objects": [self._darknet_object(entry) for entry in self],
        }

    def _darknet_object(self, entry: Detection) -> dict[str, Any]:
        height, width = self.image_size
        x1, y1, x2, y2 = entry.box_xyxy
        centre = {
            "center_x": round((x1 + x2) / 2 / width, 6),
            "center_y": round((y1 + y2) / 2 / height, 6),
            "width": round((x2 - x1) / width, 6),
            "height": round((y2 - y1) / height, 6),
        }
        return {
            "class_id": entry.class_id,
            "name": entry.name,
            "relative_coordinates": centre,
            "confidence": round(entry.score, 6),
        }

    def to_darknet_labels(self) -> str:
        """Lines of a label file: class, then centre and size relative to the image."""
        height, width = self.image_size
        lines = []
        for entry in self:
            x1, y1, x2, y2 = entry.box_xyxy
            place = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height)
            size = ((x2 - x1) / width, (y2 - y1) / height)
            numbers = " ".join(f"{value:.6f}" for value in (*place, *size))
            lines.append(f"{entry.class_id} {numbers}\n")
        return "".join(lines)

    def to_coco(
        self, image_id: int | None = None, categories: Sequence[int] = COCO_CATEGORIES
    ) -> list[dict[str, Any]]:
        """COCO result records; boxes x, y, w, h in pixels, clipped to the image.

        image_id: by default the last number in the file name. categories[class] is the id written.
        """
        image_id = _number_in(self.path) if image_id is None else int(image_id)
        return [
            {
                "image_id": image_id,
                "category_id": _category(categories, entry.class_id),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": entry.score,
            }
            for entry in self.clipped()
            for x1, y1, x2, y2 in [entry.box_xyxy]
        ]

    # ---- drawing ----

    def draw(self, image: ArrayLike, thickness: int | None = None, labels: bool = True) -> Array:
        """A copy of the image (HWC uint8 RGB, or grey) with frames and labels like "dog 0.93".

        An image of another size than `image_size` gets the boxes scaled to it. Line and letters
        grow with the image.
        """
        canvas = rgb_copy(image)
        size = canvas.shape[:2]
        found = self if self.image_size in (size, (0, 0)) else self.scaled(size)
        draw_entries(canvas, list(found.sorted()), thickness, labels)
        return canvas


def _on_cpu(values: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else values


def _boxes(values: Any) -> Array:
    boxes = np.array(_on_cpu(values), dtype=np.float32)
    if boxes.size == 0 and boxes.ndim < 2:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"Detections: boxes_xyxy has shape {boxes.shape}, expected (N, 4)")
    return boxes


def _column(what: str, values: Any, dtype: type[Any], count: int) -> Array:
    given = np.asarray(_on_cpu(values))
    if given.shape != (count,):
        raise ValueError(
            f"Detections: {what} has shape {given.shape}, expected ({count},) to go with "
            f"boxes_xyxy ({count}, 4)"
        )
    column = given.astype(dtype)
    if np.issubdtype(dtype, np.integer) and not np.array_equal(column, given):
        raise ValueError(f"Detections: {what} must be whole numbers, got {given.dtype} {given[:8]}")
    return column


def _size(size: Iterable[int]) -> tuple[int, int]:
    height, width = (int(side) for side in size)
    if height < 0 or width < 0:
        raise ValueError(f"Detections: image_size is (height, width) in pixels, got {size}")
    return height, width


def _number_in(path: str | None) -> int:
    digits = re.findall(r"\d+", Path(path).stem) if path else []
    if not digits:
        raise ValueError(f"to_coco: no number in the file name {path!r}; give image_id=")
    return int(digits[-1])


def _category(categories: Sequence[int], class_id: int) -> int:
    if class_id >= len(categories):
        raise ValueError(
            f"to_coco: class {class_id} has no category id, {len(categories)} are known; "
            "give categories= with one id for each class"
        )
    return int(categories[class_id])

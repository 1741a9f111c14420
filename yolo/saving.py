"""Where detections go: one class for each word of `detect --save`, each with add() and close().

Files appear complete when they are closed; those that grow line by line, for videos without an end,
are written as they come.
"""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np

from .data.image import ImageError, write
from .files import atomic

COLUMNS = ("path", "frame", "name", "class_id", "score", "x1", "y1", "x2", "y2")


class Names:
    """A stable, unique stem for each source: its own, and where two share it, with a number."""

    def __init__(self):
        self.known, self.taken = {}, set()

    def stem(self, path):
        if path not in self.known:
            address = "://" in path  # of a stream, or camera://0
            own = re.sub(r"[^\w.-]+", "_", path) if address else Path(path).stem
            stem, number = own, 1
            while stem in self.taken:
                number += 1
                stem = f"{own}-{number}"
            self.known[path] = stem
            self.taken.add(stem)
        return self.known[path]


class Saver:
    """Base: knows the folder and the names."""

    def __init__(self, folder, names):
        self.folder, self.names = Path(folder), names

    def add(self, frame, found):
        raise NotImplementedError

    def close(self):
        """Called once, after the last frame."""

    def path(self, name):
        """A file in the folder, whose own folder is made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class Images(Saver):
    """NAME.jpg with boxes; frames of a video are saved as `video`."""

    def add(self, frame, found):
        if frame.number is None:
            write(self.path(f"{self.names.stem(frame.path)}.jpg"), found.draw(frame.image))


class Videos(Saver):
    """NAME.mp4 with boxes, as fast as the source was: where frames were dropped, the last one
    stands."""

    def __init__(self, folder, names):
        super().__init__(folder, names)
        self.source = self.writer = None

    def add(self, frame, found):
        if frame.number is None:
            return
        drawn = np.ascontiguousarray(found.draw(frame.image)[:, :, ::-1])
        if frame.path != self.source:
            self._open(frame, drawn)
        if drawn.shape != self.last.shape:  # a camera that came back with another size
            drawn = cv2.resize(drawn, self.last.shape[1::-1])
        missing = max(0, round(frame.seconds * frame.rate) - self.written)
        for image in [self.last] * missing + [drawn]:
            self.writer.write(image)
        self.written += missing + 1
        self.last = drawn

    def _open(self, frame, drawn):
        self.close()
        path = self.path(f"{self.names.stem(frame.path)}.mp4")
        form = cv2.VideoWriter_fourcc(*"mp4v")
        self.writer = cv2.VideoWriter(str(path), form, frame.rate, drawn.shape[1::-1])
        self.source, self.last, self.written = frame.path, drawn, 0
        if not self.writer.isOpened():
            raise ImageError(f"{path}: OpenCV cannot write this video here")

    def close(self):
        if self.writer is not None:
            self.writer.release()
        self.source = self.writer = self.last = None


class Json(Saver):
    """detections.json as Darknet writes it; a video's frames go to NAME.jsonl, a line each, as they
    come."""

    def __init__(self, folder, names):
        super().__init__(folder, names)
        self.objects, self.source, self.stream = [], None, None

    def add(self, frame, found):
        if frame.number is None:
            self.objects.append(found.darknet_json(frame_id=len(self.objects) + 1))
            return
        if frame.path != self.source:
            self._end_stream()
            self.source = frame.path
            path = self.path(f"{self.names.stem(frame.path)}.jsonl")
            self.stream = path.open("w", encoding="utf-8")
        self.stream.write(json.dumps(found.to_dict()) + "\n")
        self.stream.flush()

    def _end_stream(self):
        if self.stream is not None:
            self.stream.close()
        self.source = self.stream = None

    def close(self):
        self._end_stream()
        if self.objects:
            atomic(self.path("detections.json"), json.dumps(self.objects, indent=1) + "\n")


class Coco(Saver):
    """coco.json: result records; an image's id is the number in its name, else its place."""

    def __init__(self, folder, names):
        super().__init__(folder, names)
        self.records, self.seen = [], 0

    def add(self, frame, found):
        self.seen += 1
        digits = any(c.isdigit() for c in Path(frame.path).stem)
        image_id = None if digits and frame.number is None else self.seen
        categories = None if found.names is None or len(found.names) == 80 else range(1, 1 << 16)
        known = {} if categories is None else {"categories": categories}
        self.records += found.to_coco(image_id, **known)

    def close(self):
        atomic(self.path("coco.json"), json.dumps(self.records) + "\n")


class Table(Saver):
    """detections.csv: a line for each detection, boxes in pixels; written as they come."""

    def __init__(self, folder, names):
        super().__init__(folder, names)
        self.file = self.path("detections.csv").open("w", encoding="utf-8", newline="")
        self.rows = csv.writer(self.file, lineterminator="\n")
        self.rows.writerow(COLUMNS)

    def add(self, frame, found):
        number = "" if frame.number is None else frame.number
        for e in found:
            corners = [round(v, 2) for v in e.box_xyxy]
            self.rows.writerow(
                [frame.path, number, e.name, e.class_id, round(e.score, 6), *corners]
            )
        self.file.flush()

    def close(self):
        self.file.close()


class Labels(Saver):
    """labels/NAME.txt as Darknet's training reads it: class, then the box relative to the image."""

    def add(self, frame, found):
        stem = self.names.stem(frame.path)
        stem = stem if frame.number is None else f"{stem}_{frame.number:06d}"
        atomic(self.path(Path("labels") / f"{stem}.txt"), found.clipped().to_darknet_labels())


class Crops(Saver):
    """crops/CLASS/NAME_N.jpg: what is inside each box."""

    def add(self, frame, found):
        stem = self.names.stem(frame.path)
        stem = stem if frame.number is None else f"{stem}_{frame.number:06d}"
        for n, entry in enumerate(found.clipped()):
            x1, y1, x2, y2 = (round(v) for v in entry.box_xyxy)
            part = frame.image[y1:y2, x1:x2]
            if part.size:
                kind = "".join(c if c.isalnum() or c in " -_" else "_" for c in entry.name)
                write(self.path(Path("crops") / kind / f"{stem}_{n}.jpg"), part)


SAVERS = {
    "images": Images,
    "video": Videos,
    "json": Json,
    "coco": Coco,
    "csv": Table,
    "txt": Labels,
    "crops": Crops,
}


def savers(words, folder):
    """The Savers of a list of words; they share the names."""
    names = Names()
    return [SAVERS[word](folder, names) for word in words]

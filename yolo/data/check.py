"""What is wrong with a data set, image by image.

`look` opens one image and its labels and names all that it finds; `quick` does so for some images
before a training run, `inspection.Inspection` for all of them.
"""

from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from . import image, labels
from .header import sampling
from .image import ImageError
from .labels import LabelError
from .lists import DataError
from .paths import shown

BROKEN_SHARE = 0.1  # more than this among the images looked at: the data set is refused


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and where. A warning is what training copes with."""

    path: str
    line: int  # 0: the file as a whole
    kind: str  # the same words for the same fault, to count by
    text: str
    error: bool

    def __str__(self):
        line = f":{self.line}" if self.line else ""
        return f"{shown(self.path)}{line}: {self.text}"


@dataclass
class Look:
    """What one entry of a data set holds."""

    index: int
    boxes: np.ndarray  # float32 (n, 5), relative to the image
    findings: list
    path: str | None = None  # of the image, where there is one
    shape: tuple | None = None  # (height, width) of the image, where it can be read
    digest: bytes | None = None  # of the image file's bytes
    unlabelled: bool = False

    @property
    def errors(self):
        return [finding for finding in self.findings if finding.error]


def look(dataset, index, size=None):
    """Opens the image and the labels of one entry. size: (height, width) of the network, for
    boxes that vanish there."""
    found = Look(index, np.zeros((0, 5), np.float32), [])
    try:
        found.path = dataset.image_path(index)
    except ImageError as error:
        text = str(error).removeprefix(f"{dataset.where(index)}: ")
        _note(dataset, found, "missing image", text, error=True)
        return found
    _look_at_image(dataset, found)
    _look_at_labels(dataset, found, size)
    return found


def _note(dataset, found, kind, text, error=False):
    """A finding about the image: it points at the list's line."""
    line = dataset.entries[found.index].line
    found.findings.append(Finding(dataset.path or "<list>", line, kind, text, error))


def _look_at_image(dataset, found):
    name = shown(found.path)
    try:
        data = image.contents(found.path)
        found.digest = blake2b(data, digest_size=16).digest()
        found.shape = image.decode(data, found.path).shape[:2]
    except ImageError as error:
        _note(dataset, found, "broken image", str(error), error=True)
        return
    channels, bits = sampling(data.data) or (3, 8)
    if channels <= 2:
        _note(dataset, found, "grey image", f"{name}: grey; read as three equal channels")
    if channels == 4 and data[0] == 0xFF:  # a JPEG; four channels of a PNG are transparency
        _note(dataset, found, "CMYK image", f"{name}: CMYK; its colours are converted roughly")
    if bits > 8:
        _note(dataset, found, "16-bit image", f"{name}: {bits} bits a channel; read as 8")


def _look_at_labels(dataset, found, size):
    label = labels.find(found.path)
    if label is None:
        name = shown(found.path)
        _note(dataset, found, "no label file", f"{name}: no label file; taken as empty")
        found.unlabelled = True
        return
    boxes, seen = [], {}

    def note(line, kind, text, error=False):
        found.findings.append(Finding(label, line, kind, text, error))

    try:
        for line, box, problem in labels.rows(label, dataset.classes):
            if problem:
                kind = "broken label" if box is None else "mended label"
                note(line, kind, problem, error=box is None)
            if not box:
                continue
            if box in seen:
                note(line, "duplicate box", f"the same box as in line {seen[box]}")
            seen.setdefault(box, line)
            for kind, text in _oddities(box, found.shape, size):
                note(line, kind, text)
            boxes.append(box)
    except LabelError as error:
        note(1, "broken label", str(error).removeprefix(f"{shown(label)}:1: "), error=True)
    found.boxes = np.array(boxes, np.float32).reshape(-1, 5)


def _oddities(box, shape, size):
    """(kind, text) of what is odd about a box that can be used."""
    _, x, y, w, h = box
    beyond = max(w / 2 - x, h / 2 - y, x + w / 2 - 1, y + h / 2 - 1)
    if beyond > (1 / min(shape) if shape else 0.01):  # a pixel is rounding
        yield "box beyond the image", f"reaches {beyond:.3g} of the image's side beyond its edge"
    if size and (w * size[1] < 1 or h * size[0] < 1):
        yield (
            "vanishing box",
            f"{w * size[1]:.2g} x {h * size[0]:.2g} pixels at {size[1]}x{size[0]}; training leaves "
            "out what is below one pixel",
        )


# ---- the quick look before training ----


def quick(dataset, limit=200):
    """Looks at up to `limit` images, spread over the list, and returns a Check; raises DataError
    where more than a tenth of them are broken, or none has a label file."""
    count = min(limit, len(dataset))
    found = Check()
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int):
        found.add(look(dataset, int(index)))
    found.judge(dataset.path)
    return found


@dataclass
class Check:
    """What a look at some images of a data set found."""

    images: int = 0
    boxes: int = 0
    broken: list = field(default_factory=list)  # messages, the first of each broken image
    unlabelled: list = field(default_factory=list)  # paths
    repairs: list = field(default_factory=list)  # messages

    def add(self, found):
        """Books one Look."""
        self.images += 1
        if found.errors:
            self.broken.append(str(found.errors[0]))
            return
        self.boxes += len(found.boxes)
        self.repairs += [str(f) for f in found.findings if f.kind == "mended label"]
        if found.unlabelled:
            self.unlabelled.append(found.path)

    def judge(self, path):
        """Raises DataError where training would be a waste of time."""
        where = shown(path or "<list>")
        if len(self.broken) > BROKEN_SHARE * self.images:
            raise DataError(
                f"{where}: {len(self.broken)} of {self.images} images looked at are broken; the "
                f"first: {self.broken[0]} (data check lists all)"
            )
        if self.unlabelled and len(self.unlabelled) == self.images - len(self.broken):
            tried = ", ".join(shown(p) for p in labels.candidates(self.unlabelled[0]))
            raise DataError(
                f"{where}: none of {self.images} images looked at has a label file; "
                f"for the first these were tried: {tried}"
            )

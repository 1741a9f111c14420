"""What a network has seen in images, as it travels between ranks: every number as it is."""

import json
from dataclasses import dataclass

from safetensors.torch import load, save
from torch import Tensor

from ..data.image import ImageError
from ..data.labels import LabelError
from ..predict import Candidates

ERRORS = {kind.__name__: kind for kind in (ImageError, LabelError)}
TENSORS = ("boxes", "probs", "truth", "difficult")


@dataclass
class Seen:
    """One image after the network has seen it."""

    index: int  # among the samples
    found: Candidates  # after suppression, in Darknet's order
    truth: Tensor  # (n, 5): class, x, y, w, h relative to the image
    difficult: Tensor | None  # (n, 5) boxes that need not be found
    shape: tuple  # (height, width) of the image
    path: str | None


def pack(looked):
    """([Seen], [errors]) -> bytes: those of a safetensors file behind a line of JSON."""
    found, skipped = looked
    images, tensors = [], {}
    for place, seen in enumerate(found):
        images.append([seen.index, *seen.shape, seen.path])
        parts = seen.found.boxes_xywh, seen.found.probs, seen.truth, seen.difficult
        for name, part in zip(TENSORS, parts, strict=True):
            if part is not None:
                tensors[f"{place}.{name}"] = part.contiguous()
    errors = [[type(error).__name__, str(error)] for error in skipped]
    return json.dumps([images, errors]).encode() + b"\n" + save(tensors)


def unpack(content):
    """What was packed."""
    text, tensors = content.split(b"\n", 1)
    (images, errors), tensors = json.loads(text), load(tensors)
    found = []
    for place, (index, height, width, path) in enumerate(images):
        boxes, probs, truth, difficult = (tensors.get(f"{place}.{name}") for name in TENSORS)
        seen = Seen(index, Candidates(boxes, probs), truth, difficult, (height, width), path)
        found.append(seen)
    return found, [ERRORS[kind](message) for kind, message in errors]

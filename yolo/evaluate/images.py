"""A network's pass over images with known boxes: what every protocol judges."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from .. import ranks
from ..data.ahead import ahead
from ..data.image import ImageError, Placement, fit
from ..data.labels import LabelError
from ..inference import inference
from ..predict import detect, stacked
from . import wire
from .wire import Seen


@dataclass
class Prepared:
    """One image as the network gets it, with its truth."""

    index: int  # among the samples
    x: Tensor  # (3, height, width) of the network
    place: Placement
    truth: Tensor  # (n, 5): class, x, y, w, h relative to the image
    difficult: Tensor | None  # (n, 5) boxes that need not be found
    shape: tuple  # (height, width) of the image
    path: str | None


class Pass:
    """The images of a data set and what the network finds in each: iterate once, get `Seen`.

    samples: a data set (loaded by `workers` threads), or any iterable of Samples or of pairs
        (image uint8 (H, W, 3) RGB, boxes (n, 5) class, x, y, w, h relative).
    thresh, nms: of detection and of suppression.  precision: as predict's.
    difficult: another data set of the same images, with the boxes that need not be found.
    find: predict.detect, or predict.propose.

    `skipped` has the errors of the images that could not be used.
    """

    def __init__(self, net, samples, thresh, nms, batch=1, workers=4, precision=None,
                 difficult=None, find=detect):  # fmt: skip
        self.net, self.samples, self.difficult, self.find = net, samples, difficult, find
        self.thresh, self.nms = thresh, nms
        self.batch, self.workers, self.precision = max(1, int(batch)), max(1, workers), precision
        self.skipped = []

    def __iter__(self):
        run, seen = inference(self.net, self.batch, self.precision), 0
        own = (self._look(run, chunk) for chunk in self._chunks())
        for found, skipped in ranks.in_turns(own, wire.pack, wire.unpack):
            self.skipped += skipped
            seen += len(found)
            yield from found
        if self.skipped and not seen:
            first = self.skipped[0]
            raise type(first)(f"none of {len(self.skipped)} images can be used; first: {first}")

    def _look(self, run, chunk):
        """(Seen of each image, errors of those that cannot be used)"""
        skipped = [item for item in chunk if isinstance(item, Exception)]
        chunk = [item for item in chunk if not isinstance(item, Exception)]
        if not chunk:
            return [], skipped
        inputs, places = stacked([p.x for p in chunk]), [p.place for p in chunk]
        found = self.find(self.net, run, inputs, places, self.thresh, self.nms)
        return [
            Seen(p.index, candidates, p.truth, p.difficult, p.shape, p.path)
            for p, candidates in zip(chunk, found, strict=True)
        ], skipped

    def _chunks(self):
        """Lists of `batch` Prepared, or errors in their place, a few ahead of the network: this
        rank's share of them. Which images stand together depends on their numbers alone."""
        samples = self.samples
        if isinstance(samples, Sequence) or hasattr(samples, "__getitem__"):
            loads = (partial(samples.__getitem__, index) for index in range(len(samples)))
            jobs = (partial(self._load, k, load) for k, load in enumerate(loads))
        elif hasattr(samples, "raws"):  # a stream whose images the threads decode
            loads = (partial(samples.load, raw) for raw in samples.raws())
            jobs = (partial(self._load, k, load) for k, load in enumerate(loads))
        else:
            jobs = (partial(self._prepare, k, item) for k, item in enumerate(samples))
        own = ranks.round_robin(iter(lambda: list(islice(jobs, self.batch)), []))
        made = ahead((job for chunk in own for job in chunk), self.workers)
        return iter(lambda: list(islice(made, self.batch)), [])

    def _load(self, index, load):
        try:
            return self._prepare(index, load())
        except (ImageError, LabelError) as error:
            return error

    def _prepare(self, index, sample):
        known = hasattr(sample, "image")
        image, boxes = (sample.image, sample.boxes) if known else sample[:2]
        hard = None if self.difficult is None else _checked(self.difficult.boxes(index)[0])
        net = self.net
        x, place = fit(image, *net.input_shape[1:], bool(net.options.letter_box))
        path = sample.path if known else None
        return Prepared(
            index, torch.from_numpy(x), place, _checked(boxes), hard, image.shape[:2], path
        )


def _checked(boxes):
    """Boxes (n, 5) as a tensor; none may have any shape."""
    boxes = np.asarray(boxes, np.float32)
    if boxes.size == 0:
        boxes = boxes.reshape(0, 5)
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise ValueError(
            f"evaluate: boxes have shape {boxes.shape}, expected (n, 5): class, x, y, w, h"
        )
    return torch.from_numpy(boxes)

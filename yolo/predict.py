"""Images -> Detections: fit to the network's input, run, decode the heads, suppress, scale back.

    predict(net, "dog.jpg")                    Detections
    predict(net, ["a.jpg", array], batch=2)    a list of them
    predict(net, "clip.mp4", stream=True)      a generator of them, frame by frame
    predict(net, "rtsp://host/a", stream=True) the same of a camera (0 is the first one) or stream

Thresholds, order and suppression are Darknet's. Boxes that are not finite are left out, and a
letterbox is undone by the margins it was made with (Darknet is half a pixel off at odd ones).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np
import torch
from torch import Tensor

from . import boxes as box
from .data.image import fit
from .data.sources import is_endless, is_single, pictures
from .detections import Detections
from .inference import compute, inference
from .ops.native import torch_alone
from .plan.cuda import CudaPlan

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    import numpy as np
    from PIL.Image import Image

    from .data.frame import Frame
    from .network import Network


Source: TypeAlias = "str | int | PathLike[str] | np.ndarray[Any, Any] | Tensor | Image | Frame"


class Settings(TypedDict, total=False):
    """What predict() takes beside the source and `stream`."""

    thresh: float
    nms: float
    letterbox: bool | None
    batch: int
    bgr: bool
    precision: str | None


def predict(
    net: Network,
    source: Source | Iterable[Source],
    thresh: float = 0.25,
    nms: float = 0.45,
    letterbox: bool | None = None,
    batch: int = 1,
    bgr: bool = False,
    precision: str | None = None,
    stream: bool = False,
) -> Any:
    """Detections of an image, or a list of them for several images; the surest come first.

    source: one image: a path; an array (H, W, 3) uint8 in RGB, or in BGR (as OpenCV reads) with
        bgr=True; a PIL image; a tensor (3, H, W), uint8 or 0..1, where a float tensor of the
        network's input shape is used as it is. Or several: a folder, a pattern ("a/*.jpg"), a
        video (each frame), a 4-D array or tensor, or an iterable of any of these but the last. Or,
        with stream=True, what has no end: a camera's number, an address such as rtsp://host/stream,
        or a data.Live with its settings; of these each newest frame is looked at. Detections of
        videos and cameras know their `frame` and its `seconds`.
    thresh: entries have objectness * class probability above it. A box with several classes above
        it is several entries, one for each class, as in Darknet's JSON.
    nms: of two boxes of a class that overlap by more than this the less sure one is dropped.
    letterbox: keep the aspect ratio; None: as [net] letter_box says (Darknet stretches).
    batch: how many images the network gets at once. One with recurrent layers gets the frames of
        videos one by one, and forgets what it has seen where another video begins.
    precision: one of ops.precision.WORDS for the network's device; None: the device's default.
    stream: give a generator, which reads a batch of images, yields their detections, and only then
        reads on: for what is too much for the memory, or has no end. Weights that change meanwhile
        take effect with the next call.

    An image that cannot be read raises ImageError. Any number of threads may predict with one
    network; its inference plan computes one batch at a time.
    """
    check_share("predict: thresh", thresh)
    check_share("predict: nms", nms)
    if is_endless(source) and not stream:
        raise ValueError("predict: a camera or stream has no end; give stream=True")
    detection_heads(net)
    keep_aspect = bool(net.options.letter_box) if letterbox is None else bool(letterbox)
    single = is_single(source)
    batch = 1 if single else max(1, int(batch))
    batches = _batches(pictures(source, bgr), batch, net.is_recurrent)
    run = inference(net, batch, precision)
    results = _stream(net, run, batches, keep_aspect, thresh, nms)
    if stream:
        return results
    return next(results) if single else list(results)


def _batches(images, size, apart):
    """Lists of up to `size` Frames; apart: those of videos one by one, since each needs what the
    network has seen in the one before it."""
    frames = []
    for frame in images:
        alone = apart and frame.number is not None
        if alone and frames:
            yield frames
            frames = []
        frames.append(frame)
        if alone or len(frames) == size:
            del frame
            yield frames
            frames = []
    if frames:
        yield frames


def _stream(net, run, batches, *settings):
    """Detections of each Frame; a batch of images is let go before the next one is read."""
    while results := _look(net, run, batches, *settings):
        yield from results


def _look(net, run, batches, keep_aspect, thresh, nms):
    """[Detections] of the next batch; empty after the last."""
    frames = next(batches, None)
    if frames is None:
        return []
    if net.is_recurrent and frames[0].begins:
        run.reset_state()
    inputs, places = zip(*(_fit(net, frame.image, keep_aspect) for frame in frames), strict=True)
    found = detect(net, run, stacked(inputs), places, thresh, nms)
    return [
        _of_frame(candidates.detections(frame.image.shape[:2], net.names, frame.path), frame)
        for frame, candidates in zip(frames, found, strict=True)
    ]


def _of_frame(found, frame):
    found.frame, found.seconds = frame.number, frame.seconds
    return found


@dataclass
class Candidates:
    """Boxes of one image with their probabilities; 0 where not above the threshold."""

    boxes_xywh: Tensor  # (n, 4) relative to the image
    probs: Tensor  # (n, classes) objectness * class probability

    def suppressed(self, thresh, kind="default", beta=0.6):
        """Less sure boxes of the same object removed; in the order that Darknet's arrays have."""
        return self.left(box.nms(self.boxes_xywh, self.probs, thresh, kind, beta))

    def left(self, probs):
        """Those that have one of these probabilities, which suppression has left of their own."""
        order = box.nms_order(self.probs)
        order = order[probs[order].any(1)]
        return Candidates(self.boxes_xywh[order], probs[order])

    @torch_alone()
    def detections(self, image_size, names=None, path=None):
        """One entry for each box and class, boxes in pixels, sorted by score."""
        rows, classes = torch.nonzero(self.probs, as_tuple=True)
        height, width = image_size
        corners = box.xywh_to_xyxy(self.boxes_xywh[rows]) * torch.tensor([width, height] * 2)
        scores = self.probs[rows, classes]
        whole = corners.isfinite().all(1)  # pixels may overflow where shares of the image do not
        found = (part[whole] for part in (corners, scores, classes))
        found = Detections(*found, names, image_size, path)
        return found.sorted()


def stacked(inputs):
    """(C, H, W) of each image -> (B, C, H, W), copied by NumPy: PyTorch's threads would watch for
    more work while the network runs (ops/native.py: torch_alone)."""
    first, *others = inputs
    return torch.from_numpy(np.stack([x.numpy() for x in inputs])) if others else first[None]


def detection_heads(net):
    """[(position among the network's outputs, layer)] of its detection heads."""
    layers = [net.layers[index] for index in net.heads]
    heads = [(i, layer) for i, layer in enumerate(layers) if hasattr(layer, "decode")]
    if not heads:
        raise ValueError(f"{net.cfg_path}: has no head such as [yolo], so it finds no objects")
    counts = {layer.classes for _, layer in heads}
    if len(counts) > 1:
        raise ValueError(f"{net.cfg_path}: heads differ in classes: {sorted(counts)}")
    return heads


@torch.no_grad()
def detect(net, run, inputs, places, thresh, nms):
    """inputs (B, C, H, W) and where each image lies on them -> [Candidates]; `run` is
    inference(net, B, ...)."""
    parameter = next(net.parameters(), inputs)
    inputs = inputs.to(parameter.device, parameter.dtype)
    if isinstance(run, CudaPlan) and (found := run.detect(inputs, places, thresh, nms)) is not None:
        return [Candidates(boxes, probs).left(after) for boxes, probs, after in found]
    outputs = compute(run, inputs)
    last = detection_heads(net)[-1][1]  # Darknet takes the kind of suppression from this one
    results = []
    with torch_alone():
        for found, place in zip(decode(net, outputs, thresh), places, strict=True):
            found.boxes_xywh = place.to_image(found.boxes_xywh)
            results.append(found.suppressed(nms, last.nms_kind, last.beta_nms))
    return results


@torch.no_grad()
def propose(net, run, inputs, places, thresh, nms):
    """As `detect`, of no class: every box whose objectness is above `thresh` has that as its only
    probability, and boxes silence each other by overlap alone."""
    parameter = next(net.parameters(), inputs)
    outputs = compute(run, inputs.to(parameter.device, parameter.dtype))
    parts = [
        layer.decode(outputs[position].float(), net.input_shape[1:])[:2]
        for position, layer in detection_heads(net)
    ]
    boxes, objectness = (torch.cat(values, 1).cpu() for values in zip(*parts, strict=True))
    results = []
    for b, place in enumerate(places):
        use = (objectness[b] > thresh) & boxes[b].isfinite().all(1)
        found = Candidates(place.to_image(boxes[b, use]), objectness[b, use, None])
        results.append(found.suppressed(nms))
    return results


def decode(net, outputs, thresh):
    """Outputs of the heads -> Candidates of each image, relative to the network's input.

    Boxes whose objectness is above `thresh` and that have a probability above it, in Darknet's
    order: head by head, row by row, cell by cell, anchor by anchor.
    """
    parts = [
        _decode_head(layer, outputs[position], net.input_shape[1:], thresh)
        for position, layer in detection_heads(net)
    ]
    return [
        Candidates(*(torch.cat(values) for values in zip(*heads, strict=True)))
        for heads in zip(*parts, strict=True)
    ]


def _decode_head(layer, output, input_size, thresh):
    """[(boxes (n, 4), probabilities (n, classes))] of each image, on the CPU."""
    results = []
    for boxes, objectness, scores in layer.decode_above(output.float(), input_size, thresh):
        probs = objectness[:, None] * scores
        probs = probs.where(probs > thresh, 0)  # NaN is not above it either
        use = probs.any(1) & boxes.isfinite().all(1)
        results.append((boxes[use].cpu(), probs[use].cpu()))
    return results


# ---- the network's input ----


def check_share(what, value):
    """Refuses what is not within 0..1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{what} is {value}, expected a number from 0 to 1")


def _fit(net, image, keep_aspect):
    """(input (C, H, W) of the network, where the image lies on it)."""
    channels, height, width = net.input_shape
    if image.shape[2] != channels and image.shape[2] == 3 and channels != 3:
        raise ValueError(
            f"{net.cfg_path}: takes {channels} channels, and images have 3; give tensors of shape "
            f"({channels}, {height}, {width})"
        )
    if image.shape[2] != channels:
        raise ValueError(f"predict: image has shape {image.shape}, expected (H, W, {channels})")
    x, place = fit(image, height, width, keep_aspect)
    return torch.from_numpy(x), place

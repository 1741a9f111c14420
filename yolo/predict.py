"""Images -> Detections: fit to the network's input, run, decode the heads, suppress, scale back.

    predict(net, "dog.jpg")                    Detections
    predict(net, ["a.jpg", array], batch=2)    a list of them

Thresholds, order and suppression are Darknet's. Boxes that are not finite are left out, and a
letterbox is undone by the margins it was made with (Darknet is half a pixel off at odd ones).
"""

from dataclasses import dataclass
from os import PathLike, fspath
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from . import boxes as box
from .data.image import fit, read
from .detections import Detections
from .ops import PrecisionError, precision_for
from .ops.backend import current_backend
from .ops.precision import precision as within
from .plan import Plan
from .plan.cuda import CudaPlan


def predict(net, source, thresh=0.25, nms=0.45, letterbox=None, batch=1, bgr=False, precision=None):
    """Detections of an image, or a list of them for a list of images; the surest come first.

    source: a path; an array (H, W, 3) uint8 in RGB, or in BGR (as OpenCV reads) with bgr=True; a
        tensor (3, H, W), uint8 or 0..1; or a list of such, possibly mixed; or a 4-D array or
        tensor. A float tensor of the network's input shape is used as it is.
    thresh: entries have objectness * class probability above it. A box with several classes above
        it is several entries, one for each class, as in Darknet's JSON.
    nms: of two boxes of a class that overlap by more than this the less sure one is dropped.
    letterbox: keep the aspect ratio; None: as [net] letter_box says (Darknet stretches).
    batch: how many images the network gets at once.
    precision: one of ops.precision.WORDS for the network's device; None: the device's default.
    """
    check_share("predict: thresh", thresh)
    check_share("predict: nms", nms)
    detection_heads(net)
    keep_aspect = bool(net.options.letter_box) if letterbox is None else bool(letterbox)
    single, sources = _listed(source)
    batch = 1 if single else max(1, int(batch))
    results, run = [], inference(net, batch, precision)
    for chunk in _chunks(sources, batch):
        opened = [_open(item, bgr) for item in chunk]
        inputs, places = zip(*(_fit(net, image, keep_aspect) for image, _ in opened), strict=True)
        candidates = detect(net, run, torch.stack(inputs), places, thresh, nms)
        for (image, path), found in zip(opened, candidates, strict=True):
            results.append(found.detections(image.shape[:2], net.names, path))
    return results[0] if single else results


@dataclass
class Candidates:
    """Boxes of one image with their probabilities; 0 where not above the threshold."""

    boxes_xywh: Tensor  # (n, 4) relative to the image
    probs: Tensor  # (n, classes) objectness * class probability

    def suppressed(self, thresh, kind="default", beta=0.6):
        """Less sure boxes of the same object removed; in the order that Darknet's arrays have."""
        order = box.nms_order(self.probs)
        probs = box.nms(self.boxes_xywh, self.probs, thresh, kind, beta)[order]
        left = probs.any(1)
        return Candidates(self.boxes_xywh[order][left], probs[left])

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
    outputs = compute(run, inputs.to(parameter.device, parameter.dtype))
    last = detection_heads(net)[-1][1]  # Darknet takes the kind of suppression from this one
    results = []
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
    boxes, objectness, scores = layer.decode(output.float(), input_size)
    # decode() has the anchors outside the cells, Darknet inside.
    cells = torch.arange(objectness.shape[1], device=output.device)
    cells = cells.view(layer.boxes_per_cell, -1).T.flatten()
    results = []
    for b in range(len(output)):
        chosen = cells[objectness[b, cells] > thresh]
        probs = objectness[b, chosen, None] * scores[b, chosen]
        probs = probs.where(probs > thresh, 0)  # NaN is not above it either
        use = probs.any(1) & boxes[b, chosen].isfinite().all(1)
        results.append((boxes[b, chosen[use]].cpu(), probs[use].cpu()))
    return results


# ---- what runs in the network's place ----

KEPT = 2  # forms of a network that stay compiled
_compiled = WeakKeyDictionary()  # network -> (state, {(batch, precision): what runs})


def inference(net, batch=1, precision=None):
    """What computes net(x) for up to `batch` images at a time: batch normalisation folded, and on
    the CPU compiled into one plan. Kept until any tensor of the network changes.

    A network in training mode is compiled anew each time. PyTorch counts the writes to a tensor,
    those of our kernels and of weights.load among them. Writes through `.data` or a NumPy view are
    not counted; after such, predict from copy.deepcopy(net).
    """
    parameter = next(net.parameters(), None)
    form = batch, precision_for("cpu" if parameter is None else parameter.device, precision)
    if net.training:
        _compiled.pop(net, None)
        return _compile(net, *form)
    state = _state(net)
    known = _compiled.get(net)
    if known is None or known[0] != state:
        _compiled.pop(net, None)  # frees the old copy before the new one is made
        _compiled[net] = known = (state, {})
    runs = known[1]
    if form not in runs:
        while len(runs) >= KEPT:
            del runs[next(iter(runs))]
        runs[form] = _compile(net, *form)
    return runs[form]


PLANS = {"cpu": Plan, "cuda": CudaPlan}


def _compile(net, batch, precision):
    fused = net.fused()  # a copy: what is kept must not hold the network itself
    parameter = next(net.parameters(), None)
    single = parameter is None or parameter.dtype == torch.float32
    device = "cpu" if parameter is None else parameter.device.type
    if single and current_backend() == "native" and device in PLANS:
        return PLANS[device](fused, batch, precision=precision)
    if not single and precision == "bf16" and device == "cpu":
        raise PrecisionError(
            f"precision bf16: the network is {parameter.dtype}, and the CPU needs float32"
        )

    def run(x):
        with within(precision):
            return fused(x)

    return run


def _state(net):
    """What changes when a tensor is written, replaced or moved, or other code is to run."""
    tensors = [
        tensor
        for module in net.modules()
        for tensor in (*module._parameters.values(), *module._buffers.values())
        if tensor is not None
    ]
    marks = [(id(t), t.data_ptr(), -1 if t.is_inference() else t._version) for t in tensors]
    return net.input_shape, current_backend(), torch.get_num_threads(), marks


def compute(run, x):
    """What inference() made, run on x; also where a plan was made for more images than x has."""
    missing = run.shape[0] - len(x) if isinstance(run, (Plan, CudaPlan)) else 0
    if not missing:
        return run(x)
    padded = torch.cat([x, x.new_zeros(missing, *x.shape[1:])])
    return [y[: len(x)] for y in run(padded)]


# ---- sources ----


def check_share(what, value):
    """Refuses what is not within 0..1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{what} is {value}, expected a number from 0 to 1")


def _listed(source):
    """(whether it is a single image, an iterable of images)."""
    if isinstance(source, (str, PathLike)):
        return True, [source]
    if isinstance(source, Tensor) or hasattr(source, "__array_interface__"):
        return (False, source) if np.ndim(source) == 4 else (True, [source])
    if hasattr(source, "__iter__"):
        return False, source
    raise TypeError(f"predict: cannot use {type(source).__name__}; expected {_KINDS}")


_KINDS = "a path, an array (H, W, 3) uint8, a tensor (3, H, W), or a list of these"


def _chunks(items, size):
    chunk = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _open(source, bgr):
    """(pixels (H, W, 3), path or None): uint8, or float32 0..255 where a tensor had fractions."""
    if isinstance(source, (str, PathLike)):
        return read(source), fspath(source)
    if isinstance(source, Tensor):
        return _from_tensor(source), None
    if not hasattr(source, "__array_interface__"):
        raise TypeError(f"predict: cannot use {type(source).__name__}; expected {_KINDS}")
    return _from_array(np.asarray(source), bgr), None


def _from_array(image, bgr):
    if image.ndim == 2:
        image = image[:, :, None]
    if image.dtype != np.uint8 or image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"predict: array is {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    if image.shape[2] not in (3, 4):
        raise ValueError(f"predict: array has shape {image.shape}, expected (H, W, 3)")
    return np.ascontiguousarray(image[:, :, 2::-1] if bgr else image[:, :, :3])


def _from_tensor(tensor):
    if tensor.dim() != 3 or tensor.numel() == 0:
        raise ValueError(f"predict: tensor has shape {tuple(tensor.shape)}, expected (3, H, W)")
    pixels = tensor.detach().cpu().permute(1, 2, 0)
    if tensor.dtype == torch.uint8:
        return pixels.contiguous().numpy()
    if not tensor.is_floating_point():
        raise ValueError(f"predict: tensor is {tensor.dtype}, expected uint8 or float 0..1")
    pixels = pixels.float()
    low, high = pixels.aminmax()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"predict: tensor has values {low:g} to {high:g}, expected 0 to 1")
    return pixels.mul(255).contiguous().numpy()


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

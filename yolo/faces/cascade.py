"""P-Net over a pyramid of images, R-Net and O-Net over what is left (Zhang et al. 2016).

Thresholds, rounding and order are those of the authors' program: proposals of each scale are
suppressed at 0.5, those of all scales at 0.7, boxes are refined after each stage and made square
before the next; at the end what overlaps by 0.7 of the smaller box is one face.
"""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from ..cfg import CfgError
from ..data.faces.windows import crops
from ..data.image import read
from ..data.pixels import pixels
from ..data.sample import scaled
from ..layers.mtcnn import Mtcnn
from ..network import Network
from ..predict import check_share
from . import boxes as box
from .found import LANDMARKS, Faces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..predict import Source

THRESHOLDS, SMALLEST, FACTOR = (0.6, 0.7, 0.7), 20, 0.709  # the authors' values
WITHIN, ACROSS = 0.5, 0.7  # shares at which proposals of one scale, and those of all, are one
CHUNK = 512  # windows that go through R-Net or O-Net at once


@dataclass
class Windows:
    """Boxes of one image with scores, and what the network said about each."""

    boxes: np.ndarray  # (n, 4)
    scores: np.ndarray  # (n,)
    offsets: np.ndarray  # (n, 4), in units of the boxes' sides
    landmarks: np.ndarray  # (n, 2 * landmarks): x of each, then y of each, in these units

    @classmethod
    def of(cls, boxes, values):
        """values (n, entries) of an [mtcnn] head."""
        values = values.astype(np.float64)
        return cls(boxes, values[:, 1], values[:, 2:6], values[:, 6:])

    def __getitem__(self, which):
        return Windows(*(part[which] for part in vars(self).values()))

    def __len__(self):
        return len(self.boxes)

    def suppressed(self, thresh, over="union"):
        return self[box.suppress(self.boxes, self.scores, thresh, over)]

    def refined(self):
        """The boxes where the network saw the edges."""
        return box.moved(self.boxes, self.offsets)

    def places(self):
        """Landmarks in pixels: (n, landmarks, 2)."""
        sides = (self.boxes[:, 2:] - self.boxes[:, :2])[:, None]
        count = self.landmarks.shape[1] // 2
        marks = self.landmarks.reshape(len(self), 2, count).transpose(0, 2, 1)
        return self.boxes[:, None, :2] + marks * sides


def joined(parts):
    """Windows one after the other."""
    columns = zip(*(vars(windows).values() for windows in parts), strict=True)
    return Windows(*(np.concatenate(column) for column in columns))


def scales(size, smallest, factor):
    """Factors by which an image of `size` (height, width) is resized: at the first a face of
    `smallest` pixels fills P-Net's window, at the last the image's shorter side does."""
    found, scale = [], box.WINDOW / smallest
    while min(size) * scale >= box.WINDOW:
        found.append(scale)
        scale *= factor
    return found


class Cascade:
    """Three networks that find faces: `cascade(image)`."""

    def __init__(self, pnet: Network, rnet: Network, onet: Network):
        self.pnet, self.rnet, self.onet = pnet, rnet, onet
        marks = [stage_head(net).landmarks for net in (pnet, rnet, onet)][-1]
        check_proposal_stage(pnet)
        for net in (rnet, onet):
            if net.layers[-1].out_shape[1:] != (1, 1):
                raise net.sections[-1].error("R-Net and O-Net give one answer for a window")
        if marks != len(LANDMARKS):
            raise onet.sections[-1].error(
                f"landmarks={marks}: the last stage needs {len(LANDMARKS)}", "landmarks"
            )
        self.lock = threading.Lock()  # P-Net changes its size from scale to scale

    def __call__(
        self,
        source: Source,
        thresholds: Sequence[float] = THRESHOLDS,
        smallest: float = SMALLEST,
        factor: float = FACTOR,
        bgr: bool = False,
    ) -> Faces:
        """Faces of one image: a path, or an image in memory as `Network.predict` takes it.

        thresholds: lowest score after each stage; smallest: side of the smallest face in pixels;
        factor: of each scale of the pyramid to the one before; bgr: blue comes first where the
        networks expect red, as in programs that hand over what OpenCV reads.
        """
        _check(thresholds, smallest, factor)
        path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
        image = np.rint(pixels(source)).astype(np.uint8) if path is None else read(path)
        if image.shape[2] != 3:
            raise ValueError(f"faces: image has shape {image.shape}, expected (H, W, 3)")
        image = np.ascontiguousarray(image[..., ::-1]) if bgr else image
        with self.lock:
            found = propose(self.pnet, image, thresholds[0], smallest, factor)
        found = self._judge(self.rnet, image, found.refined(), thresholds[1]).suppressed(ACROSS)
        found = self._judge(self.onet, image, found.refined(), thresholds[2])
        places, found.boxes = found.places(), found.refined()
        order = box.suppress(found.boxes, found.scores, ACROSS, "smaller")
        # what is handed out counts the last pixel in, as MTCNN's numbers do everywhere
        boxes = found.boxes[order] - (0, 0, 1, 1)
        return Faces(boxes, found.scores[order], places[order], path)

    def _judge(self, net, image, boxes, thresh):
        """What a stage says about squares around the boxes: those above the threshold."""
        boxes = np.fix(box.squares(boxes))
        boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).min(1, initial=1) >= 1]
        values = [
            answers(net, crops(image, boxes[first : first + CHUNK], net.input_shape[1]))[:, :, 0, 0]
            for first in range(0, len(boxes), CHUNK)
        ]
        empty = np.zeros((0, net.layers[-1].entries))
        found = Windows.of(boxes, np.concatenate([empty, *values]))
        return found[found.scores > thresh]


def _check(thresholds, smallest, factor):
    if len(thresholds) != 3:
        raise ValueError(f"faces: three thresholds are needed, got {len(thresholds)}")
    for thresh in thresholds:
        check_share("faces: threshold", thresh)
    if not 0 < factor < 1:
        raise ValueError(f"faces: factor is {factor}, expected a number between 0 and 1")
    if not box.WINDOW <= smallest < math.inf:
        raise ValueError(f"faces: smallest is {smallest}, expected {box.WINDOW} pixels or more")


def propose(pnet, image, thresh=THRESHOLDS[0], smallest=SMALLEST, factor=FACTOR):
    """Windows that P-Net takes for faces, of all scales; their boxes are not yet refined. The
    network keeps the size of the last scale."""
    height, width = image.shape[:2]
    found = [Windows.of(np.zeros((0, 4)), np.zeros((0, pnet.layers[-1].entries)))]
    for scale in scales((height, width), smallest, factor):
        size = int(np.ceil(width * scale)), int(np.ceil(height * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        pnet.resize(*small.shape[:2])
        values = answers(pnet, small[None])[0]
        rows, columns, boxes = box.cells(values[1], thresh, scale)
        found.append(Windows.of(boxes, values[:, rows, columns].T).suppressed(WITHIN))
    return joined(found).suppressed(ACROSS)


@torch.no_grad()
def answers(net, images):
    """uint8 (n, h, w, 3) -> output of the head, NumPy (n, entries, H, W)."""
    parameter = next(net.parameters())
    x = scaled(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))
    return net(x.to(parameter.device, parameter.dtype))[-1].float().cpu().numpy()


def stage_head(net):
    """The [mtcnn] that ends a network; any other network is refused."""
    head = net.layers[-1]
    if not isinstance(head, Mtcnn):
        raise head.section.error("ends the network, but a stage of MTCNN ends in [mtcnn]")
    if net.input_shape[0] != 3:
        raise net.sections[0].error("channels: a stage of MTCNN takes images of 3", "channels")
    return head


def check_proposal_stage(net):
    """Refuses what cannot be P-Net."""
    if not is_proposal_stage(net):
        raise net.sections[-1].error(
            f"P-Net must be convolutions alone, one answer for each window of {box.WINDOW} pixels, "
            f"{box.STRIDE} apart; this network is another stage"
        )


def is_proposal_stage(net):
    """Whether a network answers for each window of 12 pixels of an image of any size: P-Net."""
    if not isinstance(net.layers[-1], Mtcnn):
        return False
    size = net.input_shape[1:]
    try:
        maps = [net.resize(s, s).layers[-1].out_shape[1:] for s in (box.WINDOW, 2 * box.WINDOW)]
    except CfgError:  # a layer that keeps its size, or one too large for the window
        return False
    net.resize(*size)
    steps = 1 + box.WINDOW // box.STRIDE
    return maps == [(1, 1), (steps, steps)]

"""How good a stage is: P-Net by the faces that its proposals find, others by samples."""

from dataclasses import dataclass, field

import torch

from ..boxes import iou, xyxy_to_xywh
from ..data.image import ImageError
from ..data.labels import LabelError
from ..data.sample import collate, scaled
from ..evaluate.recall import IOU, Result
from ..face_kinds import FaceKind
from ..ops import precision_for
from ..ops.precision import precision as within
from . import boxes as box
from .cascade import propose

PROPOSALS, ABOVE = 20, 40  # boxes an image; longer side of the faces that are to be found, pixels
LOWEST, SUPPRESSION = 0.1, 0.5  # score and overlap of proposals
BATCH = 256


@dataclass
class Recall(Result):
    """Of the faces larger than `above` pixels those that one of the proposals overlaps by more
    than 0.5."""

    limit: int = PROPOSALS
    above: float = ABOVE
    skipped: list = field(default_factory=list)  # why images could not be used

    @property
    def score(self):
        """What training takes for the measure of the best weights."""
        return self.recall

    @property
    def brief(self):
        """For a progress line."""
        return f"recall {100 * self.recall:.2f}%"

    def report(self, names=None):
        """In words."""
        text = (
            f" {self.images} images: {self.found} of {self.truths} faces above {self.above:g} "
            f"pixels found by at most {self.limit} proposals an image, recall "
            f"{100 * self.recall:.2f} % at IoU {IOU}, average IoU {100 * self.average_iou:.2f} %"
        )
        if self.skipped:
            first = self.skipped[0]
            text += f"\n {len(self.skipped)} images could not be used; the first: {first}"
        return text


def recall(net, pictures, precision=None, proposals=PROPOSALS, above=ABOVE, progress=None):
    """Recall of P-Net over images with faces (data.faces.open_faces). progress: called with the
    Recall so far after each image."""
    result, pnet = Recall(limit=proposals, above=above), net.fused()
    with within(precision_for(next(net.parameters()).device, precision)):
        for index in range(len(pictures)):
            try:
                image, faces, _ = pictures.load(index)
            except (ImageError, LabelError) as error:
                result.skipped.append(str(error))
                continue
            sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]).max(1, initial=0)
            truth = torch.zeros(int((faces.clear & (sides > above)).sum()), 5)
            wanted = torch.from_numpy(faces.boxes[faces.clear & (sides > above)])
            truth[:, 1:] = xyxy_to_xywh(wanted)
            result.add(surest(pnet, image, proposals, above), truth)
            if progress:
                progress(result)
    return result


def surest(pnet, image, count, smallest):
    """(n, 4) centre and size in pixels of the surest proposals, refined and suppressed."""
    found = propose(pnet, image, LOWEST, max(box.WINDOW, smallest))
    boxes = found.refined()
    kept = box.suppress(boxes, found.scores, SUPPRESSION)[:count]
    return xyxy_to_xywh(torch.from_numpy(boxes[kept]).float())


@dataclass
class Accuracy:
    """How often a stage tells faces from what is none, and how well its boxes fit then."""

    samples: int = 0
    right: int = 0
    boxes: int = 0  # positive samples
    overlap: float = 0.0  # over them: IoU of the refined box and the face
    windows: float = 0.0  # the same of the window as it is

    @property
    def score(self):
        return self.right / self.samples if self.samples else 0.0

    @property
    def brief(self):
        return f"accuracy {100 * self.score:.2f}%"

    def report(self, names=None):
        """In words."""
        faces = max(1, self.boxes)
        return (
            f" {self.samples} samples: {100 * self.score:.2f} % told right; {self.boxes} faces: "
            f"IoU {100 * self.overlap / faces:.2f} % refined, {100 * self.windows / faces:.2f} % "
            "as they were cut"
        )


@torch.no_grad()
def judge(net, samples, precision=None):
    """Accuracy of a stage on samples (data.faces.FaceSamples), negative and positive ones."""
    result, stage = Accuracy(), net.fused()
    parameter = next(stage.parameters())
    with within(precision_for(parameter.device, precision)):
        for first in range(0, len(samples), BATCH):
            numbers = range(first, min(first + BATCH, len(samples)))
            batch = collate([samples[n] for n in numbers])
            x = scaled(batch.images).to(parameter.device, parameter.dtype)
            _book(result, stage(x)[-1].float().cpu().flatten(1), batch.labels)
    return result


def _book(result, values, labels):
    kind = labels[:, 0]
    counts = kind <= FaceKind.POSITIVE
    result.samples += int(counts.sum())
    guess = values[:, 1] > values[:, 0]
    result.right += int((guess == (kind == FaceKind.POSITIVE))[counts].sum())
    faces = kind == FaceKind.POSITIVE
    window = torch.tensor([0.0, 0.0, 1.0, 1.0])
    truth = window + labels[faces, 1:5]
    result.boxes += len(truth)
    result.overlap += _overlap(window + values[faces, 2:6], truth)
    result.windows += _overlap(window.expand_as(truth), truth)


def _overlap(a, b):
    return float(iou(xyxy_to_xywh(a), xyxy_to_xywh(b)).sum())

"""[mtcnn]: is it a face, where are its edges, where its landmarks (Zhang et al. 2016).

    face        -log p(what it is)                        negative and positive samples
    box         sum of (offset - true offset)^2           positive and part samples
    landmark    sum of (place - true place)^2             landmark samples

Each is multiplied by its weight of the stage and summed over the samples that it counts. Of the
face losses only the largest count (`hardest`, 70 % of them in the paper): samples that are easy
already teach nothing.
"""

import torch
from torch import Tensor

from ..face_kinds import FaceKind
from .head import Averages, HeadLoss, numbers


def loss(layer, x: Tensor, truth: Tensor) -> HeadLoss:
    """x (N, 6 + 2 landmarks, 1, 1): raw input of the head.

    truth (N, 5 + 2 landmarks): FaceKind, offsets of the four edges, x and then y of each landmark,
    in units of the window's side; what a kind has no use for may hold anything.
    """
    _check(layer, x, truth)
    with torch.no_grad():
        value, kind = x.flatten(1), truth[:, 0]
        truth = truth.to(value)
        probability = value[:, :2].softmax(1)
        sure = kind <= FaceKind.POSITIVE
        target = torch.stack((kind != FaceKind.POSITIVE, kind == FaceKind.POSITIVE), 1).to(value)
        face = -(value[:, :2].log_softmax(1) * target).sum(1)
        hard = hardest(face, sure, layer.hardest)
        boxed = (kind == FaceKind.POSITIVE) | (kind == FaceKind.PART)
        marked = kind == FaceKind.LANDMARK
        box, landmark = truth[:, 1:5] - value[:, 2:6], truth[:, 5:] - value[:, 6:]
        delta = torch.cat(
            (
                layer.face_scale * (target - probability) * hard[:, None],
                layer.box_scale * 2 * box.where(boxed[:, None], 0),
                layer.landmark_scale * 2 * landmark.where(marked[:, None], 0),
            ),
            1,
        ).view_as(x)
        sums = numbers(
            {
                "face_loss": layer.face_scale * face[hard].sum(),
                "box_loss": layer.box_scale * (box[boxed] ** 2).sum(),
                "landmark_loss": layer.landmark_scale * (landmark[marked] ** 2).sum(),
                "right": (probability * target)[sure].sum(),
                "objects": sure.sum(),
            }
        )
    right, objects = sums.pop("right"), int(sums.pop("objects"))
    cost = sum(sums.values())
    terms = {name: value / max(1, len(x)) for name, value in sums.items()}
    return HeadLoss.of(x, -delta, cost, Averages(objects, classes=right), terms)


def hardest(losses: Tensor, among: Tensor, share: float) -> Tensor:
    """(N) booleans: the `share` of those `among` all (rounded down, at least one) whose losses are
    largest; of equal ones the first."""
    count = int(among.sum())
    chosen = torch.zeros_like(among)
    if count:
        ranked = losses.where(among, -torch.inf).argsort(descending=True, stable=True)
        # 1e-9: 0.7 * 10 must not come out as 6.999
        chosen[ranked[: max(1, int(share * count + 1e-9))]] = True
    return chosen


def _check(layer, x: Tensor, truth: Tensor) -> None:
    if x.shape[2:] != (1, 1):
        raise layer.section.error(
            f"training needs one answer for a sample, and this input gives {x.shape[2]} x "
            f"{x.shape[3]}: set width and height of [net] to the size of one window (P-Net: 12)"
        )
    wanted = len(x), 5 + 2 * layer.landmarks
    if tuple(truth.shape) != wanted:
        raise ValueError(
            f"[mtcnn]: truth of shape {tuple(truth.shape)} does not fit {len(x)} samples; expected "
            f"{wanted}: kind, 4 edges, x and y of {layer.landmarks} landmarks"
        )

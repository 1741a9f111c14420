"""[rpn]: the loss of Faster R-CNN's region proposal network (Ren et al. 2015, section 3.1.2).

An anchor is positive that overlaps a truth by at least 0.7, or that no other anchor overlaps that
truth more than; negative that overlaps every truth by less than 0.3. Of each image 256 are drawn,
half of them positive where there are enough. With p the objectness of an anchor, p* 1 or 0, and
t, t* the offsets that it gives and should give:

    L = mean over the drawn of (log loss of p and p*  +  [p* = 1] sum smooth L1 of t - t*)

which is the paper's sum with lambda / N_reg as near 1 / N_cls as it says, and the authors' code.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import boxes as box
from .head import HeadLoss
from .sampling import IGNORED, POSITIVE, RegionAverages, overlaps, smooth_l1
from .truth import Slots, slots

ANY_CLASS = 1 << 30  # all objects are the same here


def loss(layer, x: Tensor, boxes: Tensor, state) -> HeadLoss:
    """x: raw input of the layer; boxes (M, 6): image index, class, x, y, w, h, relative.

    The result's `output` is what the layers behind train on: regions drawn from the proposals and
    the truths, or the proposals themselves where no [fast_rcnn] draws.
    """
    with torch.no_grad():
        value = layer.split(x.detach())
        truths = slots(boxes, len(x), layer.max, ANY_CLASS)
        anchors = layer.anchor_boxes(x)
        labels, which = assign(layer, anchors, overlaps(anchors, truths))
        delta, averages = _deltas(layer, value, anchors, labels, which, truths)
        averages.objects = int(truths.usable.sum())
        output = layer.regions_for_training(value, anchors, truths)
        delta = layer.joined(delta, x)
    terms = {"class_loss": averages.class_loss, "box_loss": averages.box_loss}
    cost = sum(terms.values())
    return HeadLoss.of(x, -delta, cost, averages, terms, output)


def assign(layer, anchors: Tensor, overlap: Tensor) -> tuple[Tensor, Tensor]:
    """overlap (B, A, T) -> labels (B, A), and the truth (B, A) that each anchor overlaps most.

    Anchors that reach over the edge of the image by more than `border` take no part.
    """
    inside = layer.inside(anchors)
    overlap = overlap * inside[:, None]
    best, which = overlap.max(2)
    labels = layer.sampling.labels(best)
    nearest = (overlap == overlap.amax(1, keepdim=True)) & (overlap > 0)
    labels[nearest.any(2)] = POSITIVE
    labels[:, ~inside] = IGNORED
    return labels, which


def _deltas(layer, value: Tensor, anchors: Tensor, labels: Tensor, which: Tensor, truths: Slots):
    """Minus the gradient with respect to `value` (B, A, 5), and the losses."""
    delta, averages = torch.zeros_like(value), RegionAverages(len(value))
    for b, image in enumerate(value):
        chosen = layer.sampling.draw(labels[b])
        if not len(chosen):
            continue
        share = 1 / len(chosen)
        logit, wanted = image[chosen, 4], (labels[b, chosen] == POSITIVE).to(value)
        weight = layer.class_normalizer * share
        averages.class_loss += _sum(F.binary_cross_entropy_with_logits, logit, wanted) * weight
        delta[b, chosen, 4] = weight * (wanted - logit.sigmoid())
        positive = chosen[labels[b, chosen] == POSITIVE]
        target = box.offsets(anchors[positive], truths.xywh[b].to(value)[which[b, positive]])
        distance, slope = smooth_l1(image[positive, :4] - target, layer.sigma)
        weight = layer.box_normalizer * share
        averages.box_loss += distance.sum().item() * weight
        delta[b, positive, :4] = -weight * slope
        averages.positives += len(positive)
        averages.judged += len(chosen)
        averages.right += int(((logit > 0) == (wanted > 0)).sum())
    return delta, averages


def _sum(function, *inputs) -> float:
    return function(*inputs, reduction="sum").item()

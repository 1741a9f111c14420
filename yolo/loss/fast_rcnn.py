"""[fast_rcnn]: the loss of Fast R-CNN (Girshick 2015, section 2.3) over regions of interest.

A region that overlaps a truth by at least 0.5 has that truth's class u, one that overlaps none by
so much is background. With p the softmax over classes and background, t^u the offsets that the
region gives for class u, t* those that it should give, of the regions drawn from an image:

    L = mean of (-log p_u  +  [u is no background] sum smooth L1 of t^u - t*)

Regions are constants: no gradient reaches the network that proposed them through their edges, the
approximate joint training of Faster R-CNN (section 3.2).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import boxes as box
from .head import HeadLoss
from .sampling import NEGATIVE, POSITIVE, RegionAverages, overlaps, smooth_l1
from .truth import Slots, slots


def loss(layer, x: Tensor, rois: Tensor, boxes: Tensor, state) -> HeadLoss:
    """x (R, values, 1, 1), rois (R, 5, 1, 1) of B images; boxes (M, 6): image index, class, x, y,
    w, h, relative."""
    with torch.no_grad():
        regions = rois.flatten(1)
        images = int(regions[:, 0].max()) + 1  # each has a region at least
        truths = slots(boxes, images, layer.max, layer.classes, layer.map)
        judged = _judge(layer, regions, truths)
        delta, averages = _deltas(layer, x.detach().flatten(1), regions, judged, truths)
        averages.images, averages.objects = images, int(truths.usable.sum())
        delta = delta.view_as(x)
    terms = {"class_loss": averages.class_loss, "box_loss": averages.box_loss}
    cost = sum(terms.values())
    return HeadLoss.of(x, -delta, cost, averages, terms)


def _judge(layer, regions: Tensor, truths: Slots) -> tuple[Tensor, Tensor, Tensor]:
    """Of each region: POSITIVE, NEGATIVE or IGNORED; its truth; its weight, so that those that
    count of an image weigh 1 together."""
    image, xywh = regions[:, 0].long(), box.xyxy_to_xywh(regions[:, 1:])
    of_each = Slots(*(t[image.cpu()] for t in (truths.xywh, truths.labels, truths.usable)), 0)
    best, which = overlaps(xywh[:, None], of_each)[:, 0].max(1)
    labels = layer.sampling.labels(best)
    labels[(xywh[:, 2:] <= 0).any(1)] = -1  # what fills up the list of an image
    counted = (labels >= 0).to(regions)
    number = torch.zeros(len(truths.xywh)).to(regions).index_add(0, image, counted)
    return labels, which, counted / number[image].clamp(min=1)


def _deltas(layer, value: Tensor, regions: Tensor, judged, truths: Slots):
    """Minus the gradient with respect to `value` (R, values), and the losses."""
    labels, which, weight = judged
    scores, offsets = layer.split(value)
    image = regions[:, 0].long()
    positive = (labels == POSITIVE).nonzero().squeeze(1)
    at = image[positive], which[positive]
    wanted = torch.full_like(labels, layer.classes)  # background
    wanted[positive] = truths.labels.to(labels.device)[at]
    each = F.cross_entropy(scores, wanted, reduction="none") * weight
    target = F.one_hot(wanted, layer.classes + 1).to(scores)
    to_scores = layer.class_normalizer * weight[:, None] * (target - scores.softmax(1))
    moves = box.offsets(box.xyxy_to_xywh(regions[positive, 1:]), truths.xywh.to(value)[at])
    moves = moves / layer.spread(value)
    distance, slope = smooth_l1(offsets[positive, wanted[positive]] - moves, layer.sigma)
    share = layer.box_normalizer * weight[positive, None]
    to_offsets = torch.zeros_like(offsets)
    to_offsets[positive, wanted[positive]] = -share * slope
    averages = RegionAverages(
        positives=len(positive),
        judged=int((labels >= NEGATIVE).sum()),
        right=int((scores.argmax(1) == wanted)[labels >= NEGATIVE].sum()),
        class_loss=layer.class_normalizer * each.sum().item(),
        box_loss=(share * distance).sum().item(),
    )
    return torch.cat((to_scores, to_offsets.flatten(1)), 1), averages

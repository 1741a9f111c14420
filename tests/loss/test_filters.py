"""Filters of deltas against plain loops over many iterations."""

from math import sqrt
from types import SimpleNamespace

import pytest
import torch

from tests.loss.cases import ANCHORS, head, random_boxes, state
from yolo.cfg import parse
from yolo.loss.filters import delta_filters
from yolo.network import Network


class Plain:
    """The rules, one number at a time."""

    def __init__(self, percentage, sigmas, equidistant, max_batches):
        self.keys = percentage, sigmas, equidistant, max_batches
        self.avg = self.max = self.std = self.threshold = 0.0

    def apply(self, deltas, it, classes):
        percentage, sigmas, ep, max_batches = self.keys
        start = max_batches * 3 // 4
        if not (((percentage or sigmas) and it > start) or (ep and it > ep)):
            return deltas
        progress = (it - ep) / (max_batches - ep)
        small = self.avg * progress * 1.4
        sizes = [abs(d) for d in deltas if d != 0]
        self.max = self.max or max(sizes)
        self.max = 0.99 * self.max + 0.01 * max(sizes)
        self.avg = 0.99 * self.avg + 0.01 * sum(sizes) / len(sizes)
        if sigmas and it > start:
            final = self.avg + self.std * sigmas
            spread = sum((d - self.avg) ** 2 for d in deltas if d != 0) / len(sizes)
            self.std = 0.99 * self.std + 0.01 * sqrt(spread)
            limit = max(final, self.max - (it - start) / start * abs(self.max - final))
            deltas = [0.0 if abs(d) > limit else d for d in deltas]
            small = min(final, self.avg) * progress
        if percentage and it > start:
            self.threshold = self.threshold or self.max
            every = sum(d != 0 for d in deltas)
            rejected = sum(abs(d) > self.threshold for d in deltas)
            deltas = [0.0 if abs(d) > self.threshold else d for d in deltas]
            if 100 * rejected * (classes + 5) / every > percentage:
                self.threshold += 0.01
            elif self.threshold > 0.01:
                self.threshold -= 0.01
        if ep and it > ep:
            deltas = [0.0 if abs(d) < small else d for d in deltas]
        return deltas


@pytest.mark.parametrize("percentage", [0.0, 2.0])
@pytest.mark.parametrize("sigmas", [0.0, 1.5])
@pytest.mark.parametrize("equidistant", [0, 60])
def test_filters_agree_with_plain_loops(percentage, sigmas, equidistant):
    options = SimpleNamespace(
        badlabels_rejection_percentage=percentage,
        num_sigmas_reject_badlabels=sigmas,
        equidistant_point=equidistant,
        max_batches=100,
    )
    filters, plain = delta_filters(options), Plain(percentage, sigmas, equidistant, 100)
    if not (percentage or sigmas or equidistant):
        assert filters is None
        return
    changed = 0
    for iteration in range(50, 100):
        for _ in range(3):  # heads share the statistics
            delta = torch.randn(2, 3, 7, 4, dtype=torch.float64) ** 3
            delta[torch.rand_like(delta) < 0.5] = 0
            before, want = delta.clone(), plain.apply(delta.flatten().tolist(), iteration, 2)
            filters.apply(delta, iteration, 2)
            assert delta.flatten().tolist() == want
            changed += int((delta != before).sum())
    assert changed > 20


def test_the_loss_of_yolo_passes_through_them():
    text = "[net]\nwidth=8\nheight=8\nchannels=1\nmax_batches=100\nequidistant_point=10\n[conv]\n"
    net = Network(parse(text + "size=8\nfilters=24\n[yolo]\nnum=3\nclasses=3\n"))
    assert net.delta_filters is not None and "delta_filters.statistics" in net.state_dict()
    x, boxes = torch.rand(4, 1, 8, 8), random_boxes(4, 3, 6)
    net.iteration = 90
    net.delta_filters.statistics[1] = 0.4  # the average so far
    delta = net.loss(x, boxes).heads[0].delta
    bound = 1.4 * 0.4 * 80 / 90
    assert (delta != 0).any() and (delta[delta != 0].abs() >= bound).all()
    net.iteration = 10
    assert (net.loss(x, boxes).heads[0].delta.abs() < bound).any()


def test_reported_cost_is_that_of_the_filtered_deltas():
    layer = head("yolo", anchors=ANCHORS, num=6, mask=[0, 1, 2])
    filters = delta_filters(
        SimpleNamespace(
            badlabels_rejection_percentage=0,
            num_sigmas_reject_badlabels=0,
            equidistant_point=1,
            max_batches=10,
        )
    )
    filters.statistics[1] = 1.0
    x = torch.randn(2, 24, 3, 3)
    got = layer.loss(x, random_boxes(2, 3, 5), state(iteration=9, filters=filters))
    assert got.cost == pytest.approx(float((got.delta**2).sum()), rel=1e-5)

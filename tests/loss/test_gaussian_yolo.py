"""The [Gaussian_yolo] loss against a scalar one, the likelihood that it climbs, and decoding."""

from math import exp, inf, isfinite, log, pi, sqrt

import pytest
import torch
from torch.testing import assert_close

from tests.loss.cases import ANCHORS, choose, head, random_boxes, state
from tests.loss.scalar import Scalar, iou_slopes, logistic, similarity
from yolo.loss.box_delta import gaussian_delta
from yolo.loss.gaussian_yolo import loss

POINTS = {"center": 0, "left_top": -0.5, "right_bottom": 0.5}


class GaussianScalar(Scalar):
    """One cell and one truth at a time, from the rules of the head."""

    first = 8  # entries before objectness

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.deviations = 0.0

    def activate(self, image):
        out, alpha = [], self.layer.scale_x_y
        for c, plane in enumerate(image):
            e = c % (9 + self.layer.classes)
            plane = [[v if e in (4, 6) else logistic(v) for v in row] for row in plane]
            if e in (0, 2):
                plane = [[alpha * v - (alpha - 1) / 2 for v in row] for row in plane]
            out.append(plane)
        self.entries = 9 + self.layer.classes
        return out

    def predicted(self, at):
        _, k, j, i = at
        aw, ah = self.anchor(self.layer.mask[k])
        w, h = exp(self.get(self.value, at, 4)) * aw, exp(self.get(self.value, at, 6)) * ah
        x = (i + self.get(self.value, at, 0)) / self.cols
        y = (j + self.get(self.value, at, 2)) / self.rows
        if self.layer.yolo_point == "left_top":
            return x + w / 2, y + h / 2, w, h
        if self.layer.yolo_point == "right_bottom":
            return x - w / 2, y - h / 2, w, h
        return x, y, w, h

    def pass_a(self, at):
        layer, norm = self.layer, self.layer.obj_normalizer
        p, o = self.predicted(at), self.get(self.value, at, 8)
        best = best_match = 0.0
        nearest = nearest_match = None
        for t in self.boxes[at[0]]:
            if self.usable(t):
                v = similarity("iou", p, t[1:])
                if v > best:
                    best, nearest = v, t
                scores = [self.get(self.value, at, 9 + c) for c in range(layer.classes)]
                if v > best_match and max(scores) > 0.25:
                    best_match, nearest_match = v, t
        self.put(self.delta, at, 8, norm * (0 - o))
        if best_match > layer.ignore_thresh:
            if layer.objectness_smooth:
                self.put(self.delta, at, 8, norm * (best_match**2 - o))
                self.class_delta(at, self.label(nearest_match))
            else:
                self.put(self.delta, at, 8, 0.0)
        elif self.adversarial:
            s = sqrt(p[2] * p[3])
            self.put(self.delta, at, 8, s * norm * (0 - o))
            for c in range(layer.classes):
                v = self.get(self.value, at, 9 + c)
                if v * o > 0.25:
                    self.put(self.delta, at, 9 + c, s * (0 - v))
        if best > layer.truth_thresh:
            q = best**2 if layer.objectness_smooth else 1.0
            self.put(self.delta, at, 8, norm * (q - o))
            c = self.label(nearest)
            self.class_delta(at, c)
            if layer.objectness_smooth:
                step = self.weight(c) * (q - self.get(self.value, at, 9 + c))
                self.put(self.delta, at, 9 + c, step)
            self.box_delta(at, nearest, c)

    def cell(self, t):
        shift = POINTS[self.layer.yolo_point]
        i = int((t[1] + shift * t[3]) * self.cols)
        j = int((t[2] + shift * t[4]) * self.rows)
        return max(0, min(i, self.cols - 1)), max(0, min(j, self.rows - 1))

    def assign(self, at, t, c):
        self.box_delta(at, t, c)
        o = self.get(self.value, at, 8)
        self.count += 1
        self.iou += similarity("iou", self.predicted(at), t[1:])
        self.obj += o
        self.seen += self.get(self.value, at, 9 + c)
        self.put(self.delta, at, 8, self.weight(c) * self.layer.obj_normalizer * (1 - o))
        self.class_delta(at, c)

    def pass_c(self, b):
        for k in range(len(self.layer.mask)):
            for j in range(self.rows):
                for i in range(self.cols):
                    at = (b, k, j, i)
                    deltas = [self.get(self.delta, at, 9 + c) for c in range(self.layer.classes)]
                    held = sum(d > 0 for d in deltas)
                    for e in range(8 if held else 0):
                        self.put(self.delta, at, e, self.get(self.delta, at, e) / held)

    def class_delta(self, at, c):
        layer, eps = self.layer, self.layer.label_smooth_eps
        high, low = 1 - eps + eps / 2, eps / 2
        p = [self.get(self.value, at, 9 + n) for n in range(layer.classes)]
        if self.get(self.delta, at, 9) != 0:
            self.put(self.delta, at, 9 + c, (high - p[c]) * self.weight(c))
            return
        for n in range(layer.classes):
            step = (high if n == c else low) - p[n]
            if n == c and self.multipliers:
                step *= self.weight(c) * layer.cls_normalizer
            self.put(self.delta, at, 9 + n, step)

    def box_delta(self, at, t, c):
        layer, (_, k, j, i), g = self.layer, at, t[1:]
        aw, ah = self.anchor(layer.mask[k])
        shift = POINTS[layer.yolo_point]
        target = [
            (g[0] + shift * g[2]) * self.cols - i,
            (g[1] + shift * g[3]) * self.rows - j,
            log(g[2] / aw),
            log(g[3] / ah),
        ]
        slopes = None
        if layer.iou_loss != "mse":
            gx, gy, gw, gh = iou_slopes(layer.iou_loss, self.predicted(at), g)
            gx, gy = gx + shift * gw, gy + shift * gh
            w, h = self.get(self.value, at, 4), self.get(self.value, at, 6)
            slopes = [gx, gy, gw * exp(w), gh * exp(h)]
        limit = inf if layer.max_delta is None else layer.max_delta
        before = [self.get(self.delta, at, e) for e in range(8)]
        self.rewritten += any(before)
        for e in range(4):
            mu, sigma = self.get(self.value, at, 2 * e), self.get(self.value, at, 2 * e + 1)
            z = (target[e] - mu) / sigma
            normal = exp(-(z**2) / 2) / (sqrt(2 * pi) * (sigma + 0.3))
            q = 0.5 * (2 - g[2] * g[3]) * normal / (normal + 1e-9)
            mean = slopes[e] if slopes else q * z / sigma
            steps = [
                mean * layer.iou_normalizer * self.weight(c),
                q * (z**2 / sigma - 1 / (sigma + 0.3)) * layer.uc_normalizer,
            ]
            for n, step in enumerate(steps):
                step = max(-limit, min(limit, step if isfinite(step) else 0.0))
                self.put(self.delta, at, 2 * e + n, before[2 * e + n] + step)

    def costs(self):
        parts = {"box": 0.0, "uc": 0.0, "class": 0.0}
        for image in self.delta:
            for c, plane in enumerate(image):
                e = c % self.entries
                part = "class" if e >= 8 else "uc" if e % 2 else "box"
                parts[part] += sum(v * v for row in plane for v in row)
        total = sum(parts.values())
        names = {"class_loss": parts["class"], "iou_loss": parts["box"], "uc_loss": parts["uc"]}
        return total, names | {"total_loss": total}


def Head(**keys):
    return head("Gaussian_yolo", **({"anchors": ANCHORS, "num": 6, "mask": [0, 1, 2]} | keys))


def random_keys():
    classes = choose([1, 2, 4])
    return dict(
        classes=classes,
        mask=choose([[0, 1, 2], [3, 4, 5], [1, 4], [5]]),
        ignore_thresh=choose([0.05, 0.3, 0.7]),
        truth_thresh=choose([1.0, 0.2]),
        iou_thresh=choose([1.0, 0.213]),
        iou_thresh_kind=choose(["iou", "giou", "diou", "ciou"]),
        iou_loss=choose(["mse", "mse", "iou", "giou", "diou", "ciou"]),
        iou_normalizer=choose([0.75, 0.07]),
        uc_normalizer=choose([1.0, 0.3]),
        obj_normalizer=choose([1.0, 0.4]),
        cls_normalizer=choose([1.0, 0.5]),
        delta_normalizer=choose([1.0, 0.3]),
        scale_x_y=choose([1.0, 1.05]),
        objectness_smooth=choose([False, True]),
        max_delta=choose([None, 5.0, 0.02]),
        label_smooth_eps=choose([0.0, 0.1]),
        counters_per_class=choose([None, [7, 0, 31, 2][:classes]]),
        yolo_point=choose(list(POINTS)),
        map=choose([None, [3, 2, 1, 0][-classes:]]),
    )


@pytest.mark.parametrize("adversarial", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_any_combination_of_keys_agrees_with_the_scalar_loss(seed, adversarial):
    torch.manual_seed(seed)
    layer = Head(**random_keys())
    images, rows, cols = choose([(2, 3, 3), (3, 2, 4)])
    x = torch.randn(images, len(layer.mask) * (9 + layer.classes), rows, cols).double()
    scores = x.unflatten(1, (len(layer.mask), -1))[:, :, 9:]
    scores[torch.rand_like(scores) < 0.1] = -800.0  # a delta of exactly 0: not yet assigned
    boxes = random_boxes(images, layer.classes, choose([1, 6, 12]))
    where = state(adversarial=adversarial)
    got = loss(layer, x, boxes, where)
    want = GaussianScalar(layer, x.tolist(), boxes.tolist(), 64, 64, adversarial=adversarial).run()
    close = dict(rtol=1e-5, atol=1e-7)
    assert_close(got.delta, torch.tensor(want.delta, dtype=x.dtype), **close)
    assert_close(got.cost, want.cost, **close)
    for name, value in want.terms.items():
        assert_close(float(got.terms[name]), float(value), **close, msg=name)
    for name, value in want.averages.items():
        assert_close(float(getattr(got.averages, name)), float(value), **close, msg=name)


def test_means_climb_the_likelihood_of_the_truth():
    """The delta of a mean is half the derivative of the logarithm of the normal density."""
    mean = torch.rand(50, 4, dtype=torch.float64, requires_grad=True)
    sigma = torch.rand(50, 4, dtype=torch.float64) * 0.5 + 0.4
    target, weight = torch.rand(50, 4, dtype=torch.float64), torch.ones(50, 1).double()
    torch.distributions.Normal(mean, sigma).log_prob(target).sum().backward()
    got, _ = gaussian_delta(target, mean.detach(), sigma, weight)
    assert_close(got, mean.grad / 2, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("point", POINTS)
def test_boxes_of_one_cell(point):
    layer = Head(yolo_point=point, mask=[3])
    output = torch.zeros(1, 12, 3, 4, dtype=torch.float64)
    values = [0.25, 0.1, 0.5, 0.3, 0.3, 0.2, 0.6, 0.4, 0.9, 0.1, 0.8, 0.4]
    output[0, :, 2, 1] = torch.tensor(values, dtype=torch.float64)
    boxes, objectness, scores = layer.decode(output, (96, 128))
    w, h = exp(0.3) * 12 / 128, exp(0.6) * 30 / 96
    shift = -POINTS[point]
    wanted = [(1 + 0.25) / 4 + shift * w, (2 + 0.5) / 3 + shift * h, w, h]
    assert_close(boxes[0, 9], torch.tensor(wanted, dtype=torch.float64))
    assert objectness[0, 9] == 0.9
    assert_close(scores[0, 9], torch.tensor([0.1, 0.8, 0.4]).double() * 0.75, rtol=1e-6, atol=0)

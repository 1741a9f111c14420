"""The [region] loss against loops over cells and truths, and worked examples."""

from math import exp, log

import pytest
import torch
from torch.testing import assert_close

from tests.loss.cases import choose, head, random_boxes, state
from tests.loss.scalar import logistic, similarity
from yolo.loss.region import loss

ANCHORS = [(0.6, 0.8), (1.4, 1.1), (0.4, 2.2)]
PARENTS = [-1, -1, 0, 0, 2, 2, 1]  # two roots; 2, 3 below 0; 4, 5 below 2; 6 below 1


def Head(**keys):
    return head("region", **({"anchors": ANCHORS, "num": 3} | keys))


class Loops:
    """The rules of the head, one box and one truth at a time."""

    def __init__(self, layer, x, boxes, seen):
        self.layer, self.seen = layer, seen
        self.rows, self.cols = len(x[0][0]), len(x[0][0][0])
        size, self.boxes = 5 + layer.classes, boxes
        self.value, self.delta = {}, {}
        for b, image in enumerate(x):
            for j in range(self.rows):
                for i in range(self.cols):
                    for n in range(layer.num):
                        v = [image[n * size + e][j][i] for e in range(size)]
                        v[4] = logistic(v[4])
                        v[5:] = self.classes(v[5:])
                        self.value[b, n, j, i] = v
                        self.delta[b, n, j, i] = [0.0] * size
        self.images = len(x)
        self.count, self.iou, self.obj, self.cat = 0, 0.0, 0.0, 0.0

    def classes(self, scores):
        layer = self.layer
        if layer.tree:
            groups = {}
            for c, parent in enumerate(PARENTS):
                groups.setdefault(parent, []).append(c)
            out = [0.0] * len(scores)
            for members in groups.values():
                total = sum(exp(scores[c]) for c in members)
                for c in members:
                    out[c] = exp(scores[c]) / total
            return out
        if layer.softmax:
            total = sum(exp(s) for s in scores)
            return [exp(s) / total for s in scores]
        return scores

    def predicted(self, at):
        _, n, j, i = at
        v = self.value[at]
        w, h = exp(v[2]) * ANCHORS[n][0] / self.cols, exp(v[3]) * ANCHORS[n][1] / self.rows
        return (i + logistic(v[0])) / self.cols, (j + logistic(v[1])) / self.rows, w, h

    def truths(self, b):
        for row in [r for r in self.boxes if r[0] == b][: self.layer.max]:
            _, label, x, y, w, h = row
            if x == 0:
                return
            inside = 0 <= x <= 1 and 0 <= y <= 1 and w > 0 and h > 0
            if inside and 0 <= label < self.layer.classes:
                yield int(label), (x, y, w, h)

    def run(self):
        for b in range(self.images):
            for at in self.value:
                if at[0] == b:
                    self.background(at)
            for c, t in self.truths(b):
                self.assign(b, c, t)
        cost = sum(d * d for delta in self.delta.values() for d in delta)
        size = len(self.delta[0, 0, 0, 0])
        out = torch.zeros(self.images, self.layer.num, size, self.rows, self.cols).double()
        for (b, n, j, i), delta in self.delta.items():
            out[b, n, :, j, i] = torch.tensor(delta)
        return out.flatten(1, 2), cost

    def background(self, at):
        layer, v, delta = self.layer, self.value[at], self.delta[at]
        best, label = 0.0, -1
        for c, t in self.truths(at[0]):
            overlap = similarity("iou", self.predicted(at), t)
            if overlap > best:
                best, label = overlap, c
        slope = v[4] * (1 - v[4])
        delta[4] = layer.noobject_scale * (0 - v[4]) * slope
        if layer.classfix == -1:
            delta[4] = layer.noobject_scale * (best - v[4]) * slope
        elif best > layer.thresh:
            delta[4] = 0.0
            if layer.classfix > 0:
                self.class_delta(at, label, v[4] if layer.classfix == 2 else 1)
        if self.seen < 12800:
            _, n, j, i = at
            middle = (i + 0.5) / self.cols, (j + 0.5) / self.rows
            anchor = ANCHORS[n][0] / self.cols, ANCHORS[n][1] / self.rows
            self.box_delta(at, (*middle, *anchor), 0.01)

    def assign(self, b, c, t):
        i, j = min(int(t[0] * self.cols), self.cols - 1), min(int(t[1] * self.rows), self.rows - 1)
        best, best_n = 0.0, 0
        for n in range(self.layer.num):
            w, h = self.predicted((b, n, j, i))[2:]
            if self.layer.bias_match:
                w, h = ANCHORS[n][0] / self.cols, ANCHORS[n][1] / self.rows
            overlap = similarity("iou", (0, 0, w, h), (0, 0, t[2], t[3]))
            if overlap > best:
                best, best_n = overlap, n
        at = b, best_n, j, i
        v = self.value[at]
        overlap = similarity("iou", self.predicted(at), t)
        self.box_delta(at, t, self.layer.coord_scale)
        target = overlap if self.layer.rescore else 1
        self.delta[at][4] = self.layer.object_scale * (target - v[4]) * v[4] * (1 - v[4])
        self.class_delta(at, c, 1)
        self.count += 1
        self.iou += overlap
        self.obj += v[4]
        self.cat += v[5 + c]

    def box_delta(self, at, t, scale):
        _, n, j, i = at
        v = self.value[at]
        for e, target in ((0, t[0] * self.cols - i), (1, t[1] * self.rows - j)):
            s = logistic(v[e])
            self.delta[at][e] = scale * (target - s) * s * (1 - s)
        for e, cells in ((2, self.cols), (3, self.rows)):
            self.delta[at][e] = scale * (log(t[e] * cells / ANCHORS[n][e - 2]) - v[e])

    def class_delta(self, at, c, factor):
        layer, v, delta = self.layer, self.value[at], self.delta[at]
        scale = layer.class_scale * factor
        if layer.tree:
            while c >= 0:
                for other in range(layer.classes):
                    if PARENTS[other] == PARENTS[c]:
                        delta[5 + other] = scale * (0 - v[5 + other])
                delta[5 + c] = scale * (1 - v[5 + c])
                c = PARENTS[c]
            return
        p = v[5 + c] + 1e-15
        focal = -0.5 * (1 - p) * (2 * p * log(p) + p - 1) if layer.focal_loss else 1
        for n in range(layer.classes):
            delta[5 + n] = scale * ((n == c) - v[5 + n]) * focal


def random_keys():
    classfix = choose([-1, 0, 1, 2])
    return dict(
        softmax=True,
        thresh=choose([0.05, 0.3, 0.6]),
        classfix=classfix,
        rescore=choose([False, True]),
        bias_match=choose([False, True]),
        focal_loss=choose([False, False, True]),
        coord_scale=choose([1.0, 2.0]),
        object_scale=choose([1.0, 5.0]),
        noobject_scale=choose([1.0, 0.5]),
        class_scale=choose([1.0, 0.7]),
        max=choose([200, 4]),
    )


def compare(layer, x, boxes, seen):
    got = loss(layer, x, boxes, state(seen=seen))
    loops = Loops(layer, x.tolist(), boxes.tolist(), seen)
    delta, cost = loops.run()
    close = dict(rtol=1e-5, atol=1e-7)
    assert_close(got.delta, delta, **close)
    assert_close(got.cost, cost, **close)
    seen = got.averages
    assert seen.objects == loops.count
    sums = torch.tensor([seen.iou, seen.obj, seen.classes])
    assert_close(sums, torch.tensor([loops.iou, loops.obj, loops.cat]), **close)
    return got


@pytest.mark.parametrize("seed", range(40))
def test_any_combination_of_keys_agrees_with_loops(seed):
    torch.manual_seed(seed)
    layer = Head(**random_keys())
    images, rows, cols = choose([(2, 3, 3), (3, 2, 4)])
    x = torch.randn(images, 24, rows, cols).double()
    compare(layer, x, random_boxes(images, 3, choose([1, 6, 12])), choose([0, 12800]))


@pytest.fixture
def tree_file(tmp_path):
    path = tmp_path / "seven.tree"
    path.write_text("".join(f"class{i} {p}\n" for i, p in enumerate(PARENTS)))
    return path


@pytest.mark.parametrize("classfix", [0, 2])
def test_hierarchy_of_classes(tree_file, classfix):
    layer = Head(tree=tree_file, classes=7, classfix=classfix, thresh=0.05)
    compare(layer, torch.randn(2, 36, 3, 3).double(), random_boxes(2, 7, 9), 0)


def test_class_without_softmax_is_raw():
    layer = Head(softmax=False)
    x = torch.randn(1, 24, 2, 2).double()
    value = layer.split(layer(x))
    assert torch.equal(value[:, :, 5:], layer.split(x)[:, :, 5:])


def test_worked_example():
    """One cell, one anchor as large as the cell, two classes; the truth fills the right half."""
    layer = head("region", anchors=[(1, 1)], num=1, classes=2, softmax=True, coord_scale=2.0)
    x = torch.tensor([0.0, 0.0, 0.0, 0.0, log(3), log(3), 0.0]).view(1, 7, 1, 1)
    got = loss(layer, x, torch.tensor([[0, 1, 0.75, 0.5, 0.5, 1.0]]), state(seen=20000))
    want = [2 * 0.25 * 0.25, 0, 2 * log(0.5), 0, 0.25 * 0.75 * 0.25, -0.75, 0.75]
    assert_close(got.delta.flatten(), torch.tensor(want))
    assert got.averages.columns() == pytest.approx(
        {"objects": 1, "iou": 0.5, "obj": 0.75, "no-obj": 0.75, "class": 0.25}
    )


def test_decoding_multiplies_down_the_hierarchy(tree_file):
    layer = head("region", anchors=[(1, 2)], num=1, classes=7, tree=tree_file)
    x = torch.zeros(1, 12, 1, 1)
    x[0, 5:, 0, 0] = torch.tensor([3.0, 0, 3, 0, 0.1, 0, 0])  # towards 0, then 2, then either
    boxes, objectness, scores = layer.decode(layer(x), (96, 64))
    assert_close(boxes[0, 0], torch.tensor([0.5, 0.5, 1.0, 2.0]))
    assert objectness.item() == 0.5
    want = torch.zeros(7)
    want[2] = logistic(3) ** 2  # the deepest class above one half; 4 and 5 share the rest
    assert_close(objectness * scores[0, 0], want[None])


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"filters must be \(classes \+ 5\) \* 3 = 24"):
        head("region", filters=23, anchors=ANCHORS, num=3)
    broken = tmp_path / "broken.tree"
    broken.write_text("a -1\nb 1\nc 0\n")
    with pytest.raises(ValueError, match="line 2: parent 1 does not stand before"):
        Head(tree=broken)
    broken.write_text("a -1\n")
    with pytest.raises(ValueError, match="has 1 classes, expected 3"):
        Head(tree=broken)

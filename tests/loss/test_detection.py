"""The [detection] loss against loops over cells and boxes, and worked examples."""

from math import exp, sqrt

import pytest
import torch
from torch.testing import assert_close

from tests.loss.cases import choose, head, random_boxes, state
from tests.loss.scalar import similarity
from yolo.loss.detection import loss

SIDE = 3


def Head(**keys):
    return head("detection", **({"num": 2, "side": SIDE} | keys))


def loops(layer, image, truths):
    """Values of one image as a flat list, truths [class, x, y, w, h] -> deltas, count, sum of iou;
    from Darknet's rules and its order of values."""
    side, n, classes = layer.side, layer.boxes_per_cell, layer.classes
    cells = side * side
    value = list(image)
    if layer.softmax:
        for cell in range(cells):
            part = value[cell * classes : (cell + 1) * classes]
            total = sum(exp(v) for v in part)
            value[cell * classes : (cell + 1) * classes] = [exp(v) / total for v in part]
    delta = [0.0] * len(value)
    first = {}
    for label, x, y, w, h in truths:
        if x == 0:
            break
        sound = 0 <= x <= 1 and 0 <= y <= 1 and w > 0 and h > 0
        if sound and 0 <= label < classes:
            col, row = min(int(x * side), side - 1), min(int(y * side), side - 1)
            first.setdefault(row * side + col, (int(label), x, y, w, h))
    total = 0.0
    for cell in range(cells):
        col, row = cell % side, cell // side
        for k in range(n):
            p = cells * classes + cell * n + k
            delta[p] = layer.noobject_scale * (0 - value[p])
        if cell not in first:
            continue
        label, *truth = first[cell]
        for c in range(classes):
            at = cell * classes + c
            delta[at] = layer.class_scale * ((c == label) - value[at])
        found = []
        for k in range(n):
            at = cells * (classes + n) + (cell * n + k) * 4
            x, y, w, h = value[at : at + 4]
            if layer.sqrt:
                w, h = w * w, h * h
            found.append(((x + col) / side, (y + row) / side, w, h))
        overlaps = [similarity("iou", p, truth) for p in found]
        errors = [sqrt(sum((a - b) ** 2 for a, b in zip(p, truth, strict=True))) for p in found]
        best = overlaps.index(max(overlaps)) if max(overlaps) > 0 else errors.index(min(errors))
        if layer.forced:
            best = 1 if truth[2] * truth[3] < 0.1 else 0
        p = cells * classes + cell * n + best
        target = overlaps[best] if layer.rescore else 1
        delta[p] = layer.object_scale * (target - value[p])
        at = cells * (classes + n) + (cell * n + best) * 4
        size = [sqrt(s) for s in truth[2:]] if layer.sqrt else truth[2:]
        wanted = [truth[0] * side - col, truth[1] * side - row, *size]
        for e in range(4):
            delta[at + e] = layer.coord_scale * (wanted[e] - value[at + e])
        total += overlaps[best]
    return delta, len(first), total


@pytest.mark.parametrize("seed", range(40))
def test_any_combination_of_keys_agrees_with_loops(seed):
    torch.manual_seed(seed)
    layer = Head(
        softmax=choose([False, True]),
        sqrt=choose([False, True]),
        rescore=choose([False, True]),
        forced=choose([False, False, True]),
        coord_scale=choose([1.0, 5.0]),
        object_scale=choose([1.0, 2.0]),
        noobject_scale=choose([1.0, 0.5]),
        class_scale=choose([1.0, 0.7]),
    )
    x = torch.rand(2, SIDE**2 * 13, 1, 1).double() * choose([0.1, 1.0])
    boxes = random_boxes(2, 3, choose([1, 8, 20]))
    got = loss(layer, x, boxes, state())
    want, count, overlap = [], 0, 0.0
    for b in range(2):
        rows = [row[1:] for row in boxes.tolist() if row[0] == b]
        delta, found, ious = loops(layer, x[b].flatten().tolist(), rows)
        want.append(delta)
        count, overlap = count + found, overlap + ious
    assert_close(got.delta.flatten(1), torch.tensor(want).double(), rtol=1e-5, atol=1e-6)
    assert got.cost == pytest.approx(sum(d * d for row in want for d in row), rel=1e-5)
    assert got.averages.objects == count
    assert got.averages.iou == pytest.approx(overlap, rel=1e-5, abs=1e-6)


def test_random_chooses_any_box_while_few_images_were_seen():
    layer = Head(random=1.0, num=3)
    x = torch.rand(1, SIDE**2 * 18, 1, 1)
    boxes = torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.3]])

    def responsible(seen):
        moved = layer.split(loss(layer, x, boxes, state(seen=seen)).delta).boxes[0, 4].abs().sum(1)
        return moved.argmax().item()

    assert {responsible(0) for _ in range(40)} == {0, 1, 2}
    assert len({responsible(64000) for _ in range(10)}) == 1


def test_decoding():
    layer = Head(sqrt=True)
    parts = layer.split(torch.zeros(1, SIDE**2 * 13, 1, 1))
    parts.classes[0, 5] = torch.tensor([0.1, 0.9, 0.2])
    parts.confidence[0, 5, 1] = 0.5
    parts.boxes[0, 5, 1] = torch.tensor([0.5, 0.25, 0.6, 0.8])
    output = torch.cat([part.flatten(1) for part in vars(parts).values()], 1)[:, :, None, None]
    boxes, objectness, scores = layer.decode(layer(output), (64, 64))
    at = SIDE**2 + 5  # the second box of the cell in row 1, column 2
    assert_close(boxes[0, at], torch.tensor([2.5 / 3, 1.25 / 3, 0.36, 0.64]))
    assert_close(objectness[0, at] * scores[0, at], torch.tensor([0.05, 0.45, 0.1]))


def test_refusals():
    message = r"side\^2 \* \(5 \* num \+ classes\) = 3\^2 \* 13 = 117 inputs, .* gives 153"
    with pytest.raises(ValueError, match=message):
        head("detection", num=2, side=3, classes=3, filters=153)

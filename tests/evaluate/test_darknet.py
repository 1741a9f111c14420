"""Mean average precision: worked examples, Darknet's oddities, a literal walk over the ranks as
oracle, and the numbers of Darknet runs on real images."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

import yolo
from tests.micro_net import micro
from yolo.data import Dataset, ImageError
from yolo.evaluate import Tally, average_precisions, evaluate, match
from yolo.predict import Candidates


def ap(hits, truths, points=0):
    """AP of one class from hits (True, False) by falling probability; every hit a new truth."""
    prob = np.linspace(0.9, 0.1, len(hits))
    numbers = np.cumsum(hits) - 1
    truth = np.where(hits, numbers, -1)
    return average_precisions(prob, np.zeros(len(hits), int), truth, [truths], points)[0]


# ---- the curve ----


@pytest.mark.parametrize(
    "hits, truths, points, expected",
    [
        ([True, False, True], 2, 0, 0.5 * 1 + 0.5 * 2 / 3),
        ([True, False, True], 2, 11, (6 * 1 + 5 * 2 / 3) / 11),
        ([True, False, True], 2, 101, (51 * 1 + 50 * 2 / 3) / 101),
        ([True, False, True], 4, 0, 0.25 * 1 + 0.25 * 2 / 3),
        ([True, False, True], 4, 11, (3 * 1 + 3 * 2 / 3) / 11),
        ([False, True], 1, 0, 0.5),
        ([False, False, True, True], 2, 0, 0.5),  # the envelope lifts the first step
        ([True] * 7, 7, 0, 1.0),
        ([True] * 7, 7, 11, 1.0),
        ([False] * 5, 3, 0, 0.0),
        ([], 3, 0, 0.0),
        ([], 3, 11, 0.0),
        ([False, True], 0, 0, 0.0),  # a class without truths
    ],
)
def test_average_precision_worked_by_hand(hits, truths, points, expected):
    assert ap(np.array(hits, bool), truths, points) == pytest.approx(expected, abs=1e-12)


def test_a_truth_counts_once_for_its_surest_detection():
    prob, classes = np.array([0.3, 0.8, 0.5]), np.zeros(3, int)
    # Two detections of truth 0; the surer one is second in the array. Ranks: hit, hit, miss.
    assert average_precisions(prob, classes, np.array([0, 0, 1]), [2])[0] == 1.0
    # Of truth 1 alone: ranks miss, hit, miss.
    assert average_precisions(prob, classes, np.array([1, -1, 1]), [1])[0] == 0.5


def test_equal_probabilities_keep_the_order_of_the_array():
    prob, classes = np.array([0.5, 0.5]), np.zeros(2, int)
    assert average_precisions(prob, classes, np.array([-1, 0]), [1])[0] == 0.5
    assert average_precisions(prob, classes, np.array([0, -1]), [1])[0] == 1.0


def walk(records, class_truths, points):
    """Darknet's way, as its description reads: all ranks, all classes, no shortcuts."""
    records = sorted(records, key=lambda r: -r[0])
    used, tp, fp = set(), [0] * len(class_truths), [0] * len(class_truths)
    table = [[] for _ in class_truths]
    for _, label, truth in records:
        if truth >= 0 and truth not in used:
            used.add(truth)
            tp[label] += 1
        else:
            fp[label] += 1
        for c, count in enumerate(class_truths):
            seen = tp[c] + fp[c]
            table[c].append((tp[c] / seen if seen else 0, tp[c] / count if count else 0))
    result = []
    for rows in table:
        if points:
            levels = [k / (points - 1) for k in range(points)]
            best = [max((p for p, r in rows if r >= level), default=0) for level in levels]
            result.append(sum(best) / points)
            continue
        (best, last), total = rows[-1], 0
        for precision, recall in reversed(rows[:-1]):
            best, total, last = (
                max(best, precision),
                total + (last - recall) * max(best, precision),
                recall,
            )
        result.append(total + last * best)
    return result


@pytest.mark.parametrize("points", [0, 11, 101])
@pytest.mark.parametrize("seed", range(8))
def test_curves_equal_a_walk_over_all_ranks(seed, points):
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, 3, 12)  # the class of each truth; class 3 has none
    counts = np.bincount(owner, minlength=4)
    records = []
    for _ in range(60):
        truth = int(rng.integers(-8, 12))
        label = int(owner[truth]) if truth >= 0 else int(rng.integers(0, 4))
        records.append((round(float(rng.random()), 1), label, max(truth, -1)))  # many ties
    prob, classes, truth = map(np.array, zip(*records, strict=True))
    ours = average_precisions(prob, classes, truth, counts, points)
    np.testing.assert_allclose(ours, walk(records, counts.tolist(), points), rtol=0, atol=1e-12)


# ---- matching ----


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def candidates(*entries, classes=2):
    """(class, probability, box) in Darknet's order."""
    probs = torch.zeros(len(entries), classes)
    for i, (label, prob, _) in enumerate(entries):
        probs[i, label] = prob
    return Candidates(boxes(*[e[2] for e in entries]), probs)


def truths(*rows) -> Tensor:
    return torch.tensor([[label, *box] for label, box in rows], dtype=torch.float32).reshape(-1, 5)


BOX, NEAR, FAR = (0.5, 0.5, 0.2, 0.2), (0.51, 0.5, 0.2, 0.2), (0.2, 0.2, 0.1, 0.1)


def tally(*images, thresh=0.25, iou=0.5, points=0):
    result = Tally(2, iou, thresh)
    for found, truth in images:
        result.add(found, truth)
    return result.result(points)


def test_counts_of_a_worked_example():
    found = candidates((0, 0.9, NEAR), (0, 0.6, FAR), (1, 0.3, BOX), (1, 0.2, FAR))
    r = tally((found, truths((0, BOX), (1, BOX), (1, (0.8, 0.8, 0.1, 0.1)))))
    overlap = 0.19 / 0.21
    assert (r.tp, r.fp, r.fn, r.detections, r.truths, r.images) == (2, 1, 1, 4, 3, 1)
    assert (r.class_tp, r.class_fp, r.class_truths) == ([1, 1], [1, 0], [1, 2])
    assert r.precision == pytest.approx(2 / 3) and r.recall == pytest.approx(2 / 3)
    assert r.f1 == pytest.approx(2 / 3)
    assert r.avg_iou == pytest.approx((overlap + 1) / 3, abs=1e-5)  # the false one counts 0
    assert r.ap == [1.0, 0.5] and r.map == 0.75


def test_at_the_threshold_the_first_of_the_array_takes_the_truth():
    truth = truths((0, BOX))
    later_is_surer = candidates((0, 0.4, NEAR), (0, 0.9, BOX))
    r = tally((later_is_surer, truth))
    assert (r.tp, r.fp, r.fn) == (1, 1, 0)
    assert r.avg_iou == pytest.approx(0.19 / 0.21 / 2, abs=1e-5)  # of the first, less sure one
    assert r.ap[0] == 1.0  # for the curve the surer one is right
    below = candidates((0, 0.1, NEAR), (0, 0.9, BOX))
    r = tally((below, truth))
    assert (r.tp, r.fp, r.fn) == (0, 1, 1)  # the first took the truth, and does not count itself


def test_the_truth_of_largest_overlap_is_meant_even_when_taken():
    left, right = (0.40, 0.5, 0.2, 0.2), (0.44, 0.5, 0.2, 0.2)
    found = candidates((0, 0.9, left), (0, 0.8, (0.41, 0.5, 0.2, 0.2)))
    r = tally((found, truths((0, left), (0, right))))
    assert (r.tp, r.fp, r.fn) == (1, 1, 1)


def test_overlap_must_exceed_the_limit_in_the_same_class():
    half = boxes((0.5, 0.5, 0.5, 0.5)), torch.tensor([0])
    whole = boxes((0.5, 0.5, 0.5, 1.0))
    assert match(*half, whole, torch.tensor([0]), 0.5)[1].tolist() == [-1]  # exactly 0.5
    assert match(*half, whole, torch.tensor([0]), 0.4999)[1].tolist() == [0]
    assert match(*half, whole, torch.tensor([1]), 0.1)[1].tolist() == [-1]
    two = torch.cat([whole, whole])
    assert match(*half, two, torch.tensor([0, 0]), 0.1)[1].tolist() == [0]  # the first of equals


def test_truths_of_different_images_are_different():
    found, truth = candidates((0, 0.9, BOX)), truths((0, BOX))
    r = tally((found, truth), (found, truth), (candidates(), truth))
    assert (r.tp, r.fp, r.fn, r.truths) == (2, 0, 1, 3)
    assert r.ap[0] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "found, truth, expected",
    [
        (candidates(), truths(), (0, 0, 0)),
        (candidates(), truths((0, BOX)), (0, 0, 1)),
        (candidates((0, 0.9, BOX)), truths(), (0, 1, 0)),
    ],
)
def test_nothing_found_or_nothing_there(found, truth, expected):
    r = tally((found, truth), points=11)
    assert (r.tp, r.fp, r.fn) == expected
    numbers = [r.map, r.precision, r.recall, r.f1, r.avg_iou, *r.ap]
    assert numbers == [0.0] * len(numbers)
    assert "nan" not in r.report(["a", "b"]).lower()
    json.dumps(r.to_dict(), allow_nan=False)


def test_truths_of_unknown_classes_are_refused():
    with pytest.raises(ValueError, match=r"image 1: truths of classes \[2\].*0 to 1"):
        tally((candidates(), truths((2, BOX))))


# ---- the report ----


def test_the_report_reads_like_darknets():
    found = candidates((0, 0.9, NEAR), (0, 0.6, FAR))
    r = tally((found, truths((0, BOX))))
    lines = r.report(["red fox"]).splitlines()
    assert lines[0] == " detections_count = 2, unique_truth_count = 1"
    assert lines[1] == "class_id = 0, name = red fox, ap = 100.00%   \t (TP = 1, FP = 1)"
    assert lines[2] == "class_id = 1, name = class 1, ap = 0.00%   \t (TP = 0, FP = 0)"
    assert lines[4:6] == [
        " for conf_thresh = 0.25, precision = 0.50, recall = 1.00, F1-score = 0.67",
        " for conf_thresh = 0.25, TP = 1, FP = 1, FN = 0, average IoU = 45.24 %",
    ]
    assert lines[7:9] == [
        " IoU threshold = 50 %, used Area-Under-Curve for each unique Recall",
        " mean average precision (mAP@0.50) = 0.500000, or 50.00 %",
    ]
    assert "1 of 2 classes have no truth here" in lines[9] and "100.00 %" in lines[9]
    assert "used 11 Recall-points" in tally((found, truths()), points=11).report()


# ---- whole networks ----


def scene(index):
    """An image, and as truths some of what micro() finds in it, slightly moved."""
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (60, 80, 3), np.uint8)
    found = micro().predict(image, thresh=0.005)[::7]
    x1, y1, x2, y2 = (found.boxes_xyxy / np.array([80, 60, 80, 60])).T
    moved = (x1 + x2) / 2 + rng.uniform(-0.02, 0.02, len(found))
    boxes = np.stack([found.classes, moved, (y1 + y2) / 2, x2 - x1, y2 - y1], 1)
    return image, boxes.astype(np.float32)


@pytest.fixture(scope="module")
def scenes():
    return [scene(i) for i in range(4)]


def oracle(net, scenes, points):
    """AP of each class from net.predict alone, one pair of boxes at a time."""
    records, counts, offset = [], [0] * 3, 0
    for image, truth in scenes:
        for entry in net.predict(image, thresh=0.005, nms=0.45):
            best, which = 0.5, -1
            for j, (label, x, y, w, h) in enumerate(truth.tolist()):
                box = (80 * (x - w / 2), 60 * (y - h / 2), 80 * (x + w / 2), 60 * (y + h / 2))
                overlap = scalar_iou(entry.box_xyxy, box)
                if label == entry.class_id and overlap > best:
                    best, which = overlap, j + offset
            records.append((entry.score, entry.class_id, which))
        offset += len(truth)
        for label in truth[:, 0]:
            counts[int(label)] += 1
    return walk(records, counts, points)


def scalar_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@pytest.mark.parametrize("points", [0, 11, 101])
def test_a_network_is_measured_by_what_it_predicts(scenes, points):
    net = micro()
    wanted = oracle(net, scenes, points)
    assert 0.05 < np.mean(wanted) < 0.95
    result = evaluate(net, scenes, points=points)
    np.testing.assert_allclose(result.ap, wanted, rtol=0, atol=1e-6)
    assert result.map == pytest.approx(np.mean(wanted)) and result.images == 4
    assert result.truths == sum(len(boxes) for _, boxes in scenes)


def test_lists_iterables_samples_and_batches_agree(scenes):
    net = micro()
    whole = evaluate(net, scenes).to_dict()
    calls = []
    assert evaluate(net, iter(scenes), progress=calls.append).to_dict() == whole
    assert calls == [1, 2, 3, 4]
    samples = [yolo.data.Sample(image, boxes, "x") for image, boxes in scenes]
    assert evaluate(net, samples, workers=1).to_dict() == whole
    assert evaluate(net, scenes, batch=3).map == pytest.approx(whole["map"], abs=1e-3)


def test_a_network_in_training_is_measured_as_in_evaluation(scenes):
    net = micro()
    wanted = evaluate(net, scenes).map
    net.train()
    assert evaluate(net, scenes).map == wanted and net.training


def test_unusable_images_are_skipped_and_told(scenes, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "list.txt").write_text("bad.png\nabsent.png\n")
    broken = Dataset.from_list(str(tmp_path / "list.txt"), classes=3)

    class Mixed:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return scenes[0] if index == 1 else broken[index // 2]

    result = evaluate(micro(), Mixed())
    assert result.images == 1 and len(result.skipped) == 2
    assert "2 images could not be used; the first: " in result.report()
    assert "bad.png" in result.skipped[0] and "absent.png" in result.skipped[1]
    with pytest.raises(ImageError, match="none of 2 images can be used"):
        evaluate(micro(), broken)


def test_no_images_at_all():
    result = evaluate(micro(), [])
    assert result.map == 0 and result.images == 0 and "no truths" in result.report()


@pytest.mark.parametrize(
    "settings, message",
    [({"iou": 2}, "iou is 2"), ({"thresh": math.nan}, "thresh is nan"), ({"points": 1}, "is 1")],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        evaluate(micro(), [], **settings)


def test_boxes_of_another_form_are_refused(scenes):
    with pytest.raises(ValueError, match=r"shape \(1, 4\), expected \(n, 5\)"):
        evaluate(micro(), [(scenes[0][0], np.zeros((1, 4)))])
    assert evaluate(micro(), [(scenes[0][0], [])]).truths == 0


def test_an_error_in_the_data_stops_at_once():
    def broken():
        yield scene(0)
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        evaluate(micro(), broken())


# ---- Darknet's runs on real images ----


def measure(shared, model, data):
    weights, folder = shared / "data/weights", shared / "data" / data
    net = yolo.load(weights / f"{model}.cfg", weights / f"{model}.weights")
    return evaluate(net, Dataset.from_data(folder / f"{data}.data", "valid"))


# mAP, detections, TP, FP, FN. JPEG decoders differ in a grey level here and there.
RUNS = [
    ("yolo-fastest-1.1", "coco_val50", 0.178206, 9029, 98, 180, 278),
    ("yolo-fastest-1.1-xl", "coco_val50", 0.252897, 6648, 125, 202, 251),
    ("yolo-fastest-1.1", "coco_val128", 0.341505, 22042, 270, 391, 628),
    ("yolo-fastest-1.1-xl", "coco_val128", 0.402907, 16454, 335, 431, 563),
]


@pytest.mark.parametrize(
    "model, data, wanted, detections, tp, fp, fn",
    [RUNS[0], *(pytest.param(*run, marks=pytest.mark.long) for run in RUNS[1:])],
)
def test_real_images_give_what_darknet_measured(
    shared, model, data, wanted, detections, tp, fp, fn
):
    result = measure(shared, model, data)
    assert abs(result.map - wanted) <= 0.003
    assert abs(result.detections - detections) <= 0.01 * detections
    assert max(abs(result.tp - tp), abs(result.fp - fp), abs(result.fn - fn)) <= 6

"""Darknet's numbers again, on the fast paths: packed training and inference plans of every
instruction set, with Winograd's kernels taken wherever they fit and never."""

import dataclasses

import pytest

from tests.test_golden import GRADIENT, OUTPUT, UPDATES, Case
from yolo import _C
from yolo.ops import precision
from yolo.plan import Plan, choose

LEVELS = [name for name, _ in _C.packed.levels()]
CASES = ("conv_variants", "yolov3_tiny_micro", "yolov4_micro", "scaled_yolov4_micro", "shortcuts",
         "squeeze_excite_sam", "classifier")  # fmt: skip


@pytest.fixture(params=CASES)
def case(shared, request):
    return Case(shared / "golden" / request.param)


@pytest.mark.parametrize("word", ["exact", "fast"])
@pytest.mark.parametrize("level", LEVELS)
def test_packed_training(case, level, word, monkeypatch):
    monkeypatch.setenv("YOLO_ISA", level)
    net = case.net.train()
    with precision(word):
        for _ in range(net.options.subdivisions):
            report = net.loss(case.x, case.truth)
            report.total.backward()
    for index, head in zip(report.indices, report.heads, strict=True):
        case.check(f"step0.L{index:03}.delta", head.delta, OUTPUT)
        case.check(f"step0.L{index:03}.cost", head.cost, OUTPUT)
    for name in case.numbers:
        *place, what = name.split(".")
        if what in UPDATES:
            parameter = getattr(net.layers[int(place[1][1:])], UPDATES[what])
            case.check(name, -parameter.grad, GRADIENT)


@pytest.mark.parametrize("word", ["exact", "winograd2", "winograd4", "phases"])
@pytest.mark.parametrize("level", LEVELS)
def test_plan(case, level, word, monkeypatch):
    if word != "exact":  # the one form wherever it fits, however few the channels
        forced = dataclasses.replace(choose.PRECISIONS["fast"], algorithms=(word,))
        monkeypatch.setitem(choose.PRECISIONS, "fast", forced)
        monkeypatch.setattr(choose, "MIN_WINOGRAD_CHANNELS", 1)
    plan = Plan(case.net, len(case.x), 2, "exact" if word == "exact" else "fast", level=level)
    taken = {kernel for _, kernel, _ in plan.rows} & choose.TILES.keys()
    assert taken <= {word}
    for index, output in zip(case.net.heads, plan(case.x), strict=True):
        case.check(f"test.L{index:03}.output", output, OUTPUT)


@pytest.mark.parametrize("word", ["winograd4", "phases"])
def test_filtering_is_among_the_kernels_of_the_cases(word, shared, monkeypatch):
    forced = dataclasses.replace(choose.PRECISIONS["fast"], algorithms=(word,))
    monkeypatch.setitem(choose.PRECISIONS, "fast", forced)
    monkeypatch.setattr(choose, "MIN_WINOGRAD_CHANNELS", 1)
    plans = [Plan(Case(shared / "golden" / name).net) for name in CASES]
    assert sum(word in [kernel for _, kernel, _ in plan.rows] for plan in plans) >= 3

"""What of the GPU benchmarks runs without a GPU: shapes, floors, statistics, flags, tables."""

import importlib.util
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def load():
    """load("report"): a file of benchmarks/ as a module."""
    sys.path.insert(0, str(ROOT / "benchmarks"))

    def module(name):
        spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return found

    yield module
    sys.path.remove(str(ROOT / "benchmarks"))


def test_shapes_of_a_network(load):
    shapes = load("shapes")
    found = shapes.layer_shapes(ROOT / "cfg" / "yolov3.cfg", 16, 416, 416)
    assert sum(found.values()) == 75
    first = next(iter(found))
    assert first[:9] == (16, 3, 416, 416, 32, 3, 3, 416, 416)
    total = sum(count * shapes.flops(a) for a, count in found.items()) / 16 / 1e9
    assert total == pytest.approx(65.9, abs=0.5)  # as Darknet counts the network


def test_floors(load):
    shapes = load("shapes")
    a = next(iter(shapes.layer_shapes(ROOT / "cfg" / "yolov3.cfg", 16, 416, 416)))
    ceiling = shapes.ceiling_of("NVIDIA H200")
    pixels = 16 * 416 * 416
    assert shapes.traffic(a, "forward", "bf16") == 2 * pixels * 35 + 2 * 32 * 27
    assert shapes.traffic(a, "grad_weight", "bf16") == 2 * pixels * 35 + 4 * 32 * 27
    assert shapes.floor(a, "forward", "bf16", ceiling) == pytest.approx(45e-6, rel=0.02)  # memory
    assert shapes.floor(a, "forward", "fp32", ceiling) == pytest.approx(
        max(2 * pixels * 27 * 32 / 60e12, 4 * pixels * 35 / 4.3e12), rel=0.01
    )
    assert shapes.ceiling_of("another GPU") is None


def test_pairs_take_turns_and_cancel_a_drift(load):
    timing = load("gpu_timing")
    now, order = itertools.count(), []

    def clock(side, repeats):
        order.append(side())
        return {"ours": 1e-3, "peer": 2e-3}[order[-1]] * (1 + 1e-3 * next(now))

    got = timing.compare([lambda: "ours"], [lambda: "peer"], pairs=20, clock=clock)
    assert got.ratio == pytest.approx(2, rel=1e-3) and got.low <= got.ratio <= got.high
    assert got.ours < got.peer
    turns = order[2:]  # the first two find out how many calls make a sample
    assert turns[:4] == ["ours", "peer", "peer", "ours"] and len(turns) == 40


def test_functions_rotate(load):
    timing = load("gpu_timing")
    turn = timing.rotating([lambda i=i: i for i in range(3)])
    assert [turn() for _ in range(5)] == [0, 1, 2, 0, 1]
    assert timing.sets_for(60e6) == 3 and timing.sets_for(1e9) == 1
    assert timing.sets_for(1e3) == timing.MOST_SETS and timing.sets_for(1e3, cold=False) == 1


def test_interval_covers_the_median(load):
    timing, random = load("gpu_timing"), np.random.default_rng(3)
    covered = 0
    for _ in range(60):
        middle, low, high = timing.interval(random.normal(1.5, 0.1, 50))
        assert low <= middle <= high
        covered += low <= 1.5 <= high
    assert covered >= 50  # 95% of 60 is 57
    assert timing.interval([1.2] * 9) == pytest.approx((1.2, 1.2, 1.2))


def test_flags_of_bench_conv(load, capsys):
    parse = load("bench_conv").parse
    assert parse([]).precision == "exact" and parse(["--device", "cuda"]).precision == "bf16"
    assert parse(["--device", "cuda", "--precision", "fp32", "--warm"]).cold is False
    with pytest.raises(SystemExit) as stopped:
        parse(["--precision", "bf16"])
    assert stopped.value.code == 2 and "cpu has exact, fast" in capsys.readouterr().err


def test_bench_train_says_that_it_needs_a_gpu(load):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SystemExit, match="needs a GPU"):
        load("bench_train").main([])


MACHINE = {"device": "NVIDIA H200", "torch": "2.13", "cudnn": 91000, "nvidia-smi": ""}


def conv_file(folder):
    shape = {"c": 3, "k": 32, "r": 3, "h": 416, "stride": [1, 1]}
    row = {"shape": shape, "pass": "forward", "ours": 1e-4, "peer": 2e-4, "low": 1.9, "high": 2.1}
    rows = [row | {"ratio": 2.0, "count": 1, "of_floor": 0.5, "tflops": 1.0},
            row | {"ratio": 0.5, "count": 2, "of_floor": 0.2, "tflops": 1.0}]  # fmt: skip
    content = {"kind": "conv", "machine": MACHINE, "network": "cfg/yolov3.cfg", "rows": rows}
    path = folder / "conv.json"
    path.write_text(json.dumps(content | {"batch": 16, "precision": "bf16"}))
    return path


def test_report_of_convolutions(load, tmp_path):
    report = load("report")
    text = report.table("conv", report.read([conv_file(tmp_path)])["conv"])
    assert "NVIDIA H200, torch 2.13, cuDNN 91000." in text
    # 2 * 0.5 * 0.5 to the third root; floors weighted by time
    assert "| yolov3, 16, bf16 | forward | 0.79 | 0.50 | 0.30 |" in text


def test_report_rewrites_between_its_markers(load, tmp_path, monkeypatch):
    report = load("report")
    row = {"network": "yolov4", "size": 608, "batch": 16, "ours": 0.02, "peer": 0.03,
           "peer_mode": "eager", "ratio": 1.5, "low": 1.4, "high": 1.6,
           "our_bytes": 6, "peer_bytes": 10}  # fmt: skip
    path = tmp_path / "train.json"
    path.write_text(
        json.dumps({"kind": "train", "machine": MACHINE, "precision": "bf16", "rows": [row]})
    )
    documents = tmp_path / "GPU.md", tmp_path / "README.md"
    documents[0].write_text("a\n<!-- measured train -->\nold\n<!-- end train -->\nb\n")
    documents[1].write_text("no table here\n")
    monkeypatch.setattr(report, "DOCUMENTS", documents)
    report.main(["--write", str(path)])
    text = documents[0].read_text()
    line = "| yolov4, 608, 16, bf16 | 20.00 | 30.00 | eager, memory 0.60 | 1.50 (1.40-1.60) |"
    assert line in text and "old" not in text and text.startswith("a\n") and text.endswith("b\n")
    assert documents[1].read_text() == "no table here\n"
    report.main(["--write", str(path)])
    assert documents[0].read_text() == text
    documents[0].write_text("no markers")
    with pytest.raises(report.ReportError, match="no markers for train"):
        report.main(["--write", str(path)])


@pytest.mark.parametrize("content", ["{", "[]", '{"kind": "tea", "rows": [1]}', '{"kind": "conv"}'])
def test_files_that_are_none_are_refused(load, tmp_path, content):
    report = load("report")
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(report.ReportError, match=r"x\.json"):
        report.read([tmp_path / "x.json"])


def test_the_documents_have_every_marker(load):
    report = load("report")
    text = report.DOCUMENTS[0].read_text()
    for kind in report.KINDS:
        assert report.rewrite(text, kind, "here", "GPU.md") != text


def test_gpu_check_survives_failing_parts(tmp_path):
    """Without nvcc, GPU or benchmarks every part fails, and each is reported."""
    if shutil.which("sh") is None:
        pytest.skip("no sh here")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHON": "false", "CUDA_HOME": "/none",
                   "RESULTS": str(tmp_path / "out")}  # fmt: skip
    (tmp_path / "nvcc").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "nvcc").chmod(0o755)
    command = [
        "sh",
        str(ROOT / "benchmarks" / "gpu_check.sh"),
        "build",
        "conv",
        "train",
        "nonsense",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "no part 'nonsense'" in done.stdout
    for part in ("build-kernels", "build-package", "conv-bf16", "conv-tf32", "train"):
        assert f"{part}: FAILED" in done.stdout

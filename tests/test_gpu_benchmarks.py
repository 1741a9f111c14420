"""What of the GPU benchmarks runs without a GPU: shapes, floors, statistics, flags, tables."""

import contextlib
import copy
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.micro_net import HEAD

ROOT = Path(__file__).resolve().parents[1]


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


def test_floor_of_a_network(load):
    """As design counted it for whole networks: inference alone, and all three passes."""
    shapes = load("shapes")
    given = ROOT / "cfg" / "yolov3.cfg", 16, (416, 416)
    ceiling = shapes.ceiling_of("NVIDIA H200")
    forward = shapes.network_floor(*given, ("forward",), "bf16", ceiling)
    assert forward == pytest.approx(1.55e-3, rel=0.05)
    found = shapes.network_floor(*given, shapes.PASSES, "bf16", ceiling)
    assert 2.9 * forward < found < 3 * forward  # the first layer has no grad_x
    assert shapes.network_floor(*given, shapes.PASSES, "bf16", None) == 0


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


def test_footprint_counts_what_stays_and_what_a_call_needs(load, monkeypatch):
    timing, now, most = load("gpu_timing"), [100], [100]

    def use(amount):
        now[0] += amount
        most[0] = max(most[0], now[0])

    def build():
        use(40)

        def call():
            use(300)
            use(-300)

        use(500)  # of the building alone
        use(-500)
        return call

    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: now[0])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: most[0])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: most.__setitem__(0, now[0]))
    assert timing.footprint(build)[1] == 340


def test_a_captured_function_gives_its_tensors(load, monkeypatch):
    timing, log = load("gpu_timing"), []

    class Any:
        def __init__(self, *_):
            pass

        def wait_stream(self, other):
            log.append("wait")

        def replay(self):
            log.append("replay")

    for name in ("Stream", "CUDAGraph", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Any)
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda what: contextlib.nullcontext())
    graph = timing.graphed(lambda: log.append("run") or "result")
    assert log == ["wait", "run", "run", "run", "wait", "run"]  # warm runs aside, then the capture
    assert graph() == "result" and log[-1] == "replay"


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


@pytest.mark.parametrize("name", ["bench_conv", "bench_network", "bench_train"])
def test_a_benchmark_says_that_it_needs_a_gpu(load, name):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    arguments = [] if name == "bench_train" else ["--device", "cuda"]
    with pytest.raises(SystemExit, match=rf"{name}\.py.* has no GPU"):
        load(name).main(arguments)


TINY = (
    """
[net]
width=32
height=32
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky
"""
    + HEAD
)


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.cfg"
    path.write_text(TINY)
    return str(path)


def fake_gpu(module, monkeypatch):
    """What needs a GPU is left out; a clock that shows the same for everything."""

    def clock(side, repeats):
        side()
        return 1e-3

    monkeypatch.setattr(module, "footprint", lambda build: (build(), 1000))
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **_: compiled(f, backend="aot_eager"))
    return clock


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_training_steps_of_every_mode(load, tiny, monkeypatch):
    """On the CPU: the gradients of all modes agree, and each of ours meets each of the peer's."""
    bench = load("bench_train")
    clock = fake_gpu(bench, monkeypatch)
    monkeypatch.setattr(bench, "Graphs", lambda net: SimpleNamespace(maps=bench.Body(net)))
    modes = ["--ours", "eager", "graph", "--modes", "eager", "compiled", "graph"]
    case = ["--cfg", tiny, "--size", "32", "--batch", "2", "--precision", "fp32", "--pairs", "2"]
    settings = bench.parse([*case, *modes])
    rows = list(bench.measure(settings, bench.Tries(), "cpu", clock))
    pairs = [(row["peer_mode"], row["our_mode"]) for row in rows]
    assert pairs == list(itertools.product(bench.PEERS, bench.OURS))
    for row in rows:
        assert row["cosine"] > 0.99999
        assert row["our_bytes"] == (1000 if row["our_mode"] == "eager" else None)
        assert row["peer_bytes"] == (None if row["peer_mode"] == "graph" else 1000)
        text = bench.line(row | {"network": "tiny", "size": 32, "batch": 2})
        assert ("memory" in text) == ("graph" not in (row["our_mode"], row["peer_mode"]))


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_the_peer_trains_under_autocast(load, tiny, monkeypatch, mode):
    """That of the CPU, in bfloat16, beside float32."""
    bench, autocast = load("bench_train"), torch.autocast
    fake_gpu(bench, monkeypatch)
    monkeypatch.setattr(torch, "autocast", lambda _, *how: autocast("cpu", *how))
    net = bench.network(tiny, 32).train()
    given = torch.rand(2, 3, 32, 32), bench.truths(2, "cpu")
    exact, half = (bench.Step(*bench.peer(net, p), *given, mode) for p in ("fp32", "bf16"))
    pairs = zip(half.gradients(), exact.gradients(), strict=True)
    cosines = [torch.cosine_similarity(a.flatten(), b.flatten(), 0) for a, b in pairs]
    assert 0.99 < min(cosines) < 0.9999999
    half()
    assert all(bool(p.isfinite().all()) for p in half.net.parameters())


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_wrong_gradients_are_not_timed(load, tiny, monkeypatch, capsys):
    bench = load("bench_train")
    clock = fake_gpu(bench, monkeypatch)
    plain = bench.as_pytorch

    def spoilt(net, layout):
        net = plain(net, layout)
        forward = net.layers[0].forward
        net.layers[0].forward = lambda x: forward(x).flip(3)
        return net

    monkeypatch.setattr(bench, "as_pytorch", spoilt)
    case = ["--cfg", tiny, "--size", "32", "--batch", "2", "--precision", "fp32"]
    tries = bench.Tries()
    assert list(bench.measure(bench.parse(case), tries, "cpu", clock)) == []
    assert re.search(r"the peer's, eager: .*point apart.* at weight 0", capsys.readouterr().out)
    with pytest.raises(SystemExit, match="not measured: the peer's, eager"):
        tries.finish()


POOLS = TINY.replace(
    HEAD,
    "[maxpool]\nsize=2\nstride=2\n[maxpool]\nsize=2\nstride=1\n[maxpool]\nsize=5\nstride=1\n"
    "[maxpool]\nsize=3\nstride=2\n[upsample]\nstride=2\n[route]\nlayers=-1,-3\n" + HEAD,
)


def test_the_compiled_peer_is_one_graph_of_pytorchs_operators(load, tmp_path):
    """None of ours is in it: a tracer does not see which backend its caller has chosen."""
    bench, seen = load("bench_train"), []
    path = tmp_path / "pools.cfg"
    path.write_text(POOLS)
    net = bench.network(str(path), 32).train()
    net.iteration = bench.ITERATION
    x = torch.rand(2, 3, 32, 32)
    with bench.ops.backend("torch"):
        wanted = bench.Body(copy.deepcopy(net))(x)

    def look(module, inputs):
        seen.extend(str(node.target) for node in module.graph.nodes if node.op != "placeholder")
        return module

    body = bench.Body(bench.as_pytorch(net, torch.channels_last))
    got = torch.compile(body, backend=look, fullgraph=True)(x)
    torch.testing.assert_close(got, wanted)
    assert seen and not any("yolo" in name or "autograd_function" in name for name in seen)


def test_inference_of_every_mode(load, tiny, monkeypatch, capsys):
    """On the CPU, our network standing for the plan."""
    bench, network = load("network_cuda"), load("bench_network").network

    class Plan:
        fallback = None

        def __init__(self, net, batch, precision):
            self.net = net

        def __call__(self, x):
            with torch.no_grad():
                return self.net(x)

    clock = fake_gpu(bench, monkeypatch)
    monkeypatch.setattr(bench, "CudaPlan", Plan)
    monkeypatch.setattr(bench, "graphed", lambda function: function)
    net = network(tiny, 32).eval()
    tries = bench.Tries()
    case = net, 2, "fp32", 2, bench.MODES, tries, clock
    rows = list(bench.measure(*case))
    tries.finish()
    assert [row["peer_mode"] for row in rows] == list(bench.MODES)
    for row in rows:
        assert row["error"] < 1e-5 and row["our_bytes"] == 1000
        assert row["peer_bytes"] == (None if "graph" in row["peer_mode"] else 1000)
    plain = bench.as_pytorch
    monkeypatch.setattr(bench, "as_pytorch", lambda *a: plain(*a).apply(double_weights))
    assert list(bench.measure(*case)) == [] and len(tries.failed) == len(bench.MODES)
    assert capsys.readouterr().out.count("the heads differ") == len(bench.MODES)


@torch.no_grad()
def double_weights(module):
    if hasattr(module, "weight"):
        module.weight.mul_(2)


def test_figures_of_a_run_that_is_stopped_stay(load, tmp_path, monkeypatch):
    timing = load("gpu_timing")
    monkeypatch.setattr(timing, "machine", lambda: MACHINE)
    timing.save(tmp_path / "x.json", {"kind": "train", "rows": [1]})
    found = json.loads((tmp_path / "x.json").read_text())
    assert found == {"kind": "train", "rows": [1], "after": MACHINE}
    timing.save(tmp_path / "none.json", {"kind": "train", "rows": []})
    timing.save(None, {})
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


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
           "our_bytes": 6, "peer_bytes": 10, "our_mode": "eager", "of_floor": 0.4}  # fmt: skip
    graph = {"peer": 0.025, "peer_mode": "graph", "our_bytes": None, "ratio": 1.25}
    content = {"kind": "train", "machine": MACHINE, "precision": "bf16"}
    path = tmp_path / "train.json"
    path.write_text(json.dumps(content | {"rows": [row, row | graph]}))
    documents = tmp_path / "GPU.md", tmp_path / "README.md"
    documents[0].write_text("a\n<!-- measured train -->\nold\n<!-- end train -->\nb\n")
    documents[1].write_text("# It\n<!-- measured train -->\n<!-- end train -->\n")
    monkeypatch.setattr(report, "DOCUMENTS", documents)
    report.main(["--write", str(path)])
    text = documents[0].read_text()
    line = (
        "| yolov4, 608, 16, bf16 | 20.00, eager | 0.40 | 30.00, eager | 1.50 (1.40-1.60) | 0.60 |"
    )
    assert "| 25.00, graph (fastest) | 1.25 (1.40-1.60) | - |" in text
    assert line in text and "old" not in text and text.startswith("a\n") and text.endswith("b\n")
    assert line in documents[1].read_text()
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
    for document, kind in itertools.product(report.DOCUMENTS, report.KINDS):
        text = document.read_text()
        assert report.rewrite(text, kind, "here", document.name) != text


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
        *("build", "sanitize", "conv", "network", "train", "train-compiled", "nonsense"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "no part 'nonsense'" in done.stdout
    for part in ("build-kernels", "build-package", "memcheck", "conv-bf16", "conv-tf32",
                 "network-16", "train-yolov4", "train-compiled-yolov3"):  # fmt: skip
        assert f"{part}: FAILED" in done.stdout


def test_each_part_of_gpu_check_ends_within_ten_minutes():
    """The limits of what one part runs, added; those in a loop count for each of its turns."""
    text = (ROOT / "benchmarks" / "gpu_check.sh").read_text()
    bodies = dict(re.findall(r"^(\w+)\(\) \{.*?\n(.*?)^\}", text, re.M | re.S))
    del bodies["part"]
    assert len(bodies) == 7
    for name, body in bodies.items():
        loop = re.search(r"for \w+ in (.*?); do(.*?)done", body, re.S)
        rest, total = body, 0
        if loop:
            rest = body.replace(loop[0], "")
            total = len(loop[1].split()) * limits(loop[2])
        assert 60 <= total + limits(rest) <= 580, name


def limits(text):
    return sum(map(int, re.findall(r"\bpart \S+ (\d+)", text)))

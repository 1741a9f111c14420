"""Out of memory, and how many subdivisions fit."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.train.small_run import assert_same, network, trainer
from yolo.checkpoint import read
from yolo.train import memory
from yolo.train.memory import MemoryLimit, fit_subdivisions, is_out_of_memory, more_subdivisions

STILL = (("probability=0.2", "probability=0"), ("batch_normalize=1\n", ""))


def limited(run, images):
    """Makes the network run out of memory with more than so many images at once."""
    forward = run.net.loss

    def loss(x, truth):
        report = forward(x, truth)
        if len(x) > images:
            report.total.backward()  # half done when it happens
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return report

    run.net.loss = loss


def test_out_of_memory_is_halved_and_continued(tmp_path):
    """Without batch normalisation the sums of halves are those of the whole."""
    said = []
    whole = trainer(tmp_path / "a", 6, network(STILL))
    whole.run()
    run = trainer(tmp_path / "b", 6, network(STILL), say=said.append)
    limited(run, 1)
    run.run()
    assert run.net.options.subdivisions == 4 and run.net.options.effective_batch == 4
    assert len(said) == 1 and "out of memory" in said[0] and "4 subdivisions of 1" in said[0]
    assert run.given[2:] == whole.given  # the first mini-batch came a second time
    for one, two in zip(run.net.parameters(), whole.net.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    assert "subdivisions=4" in read(tmp_path / "b" / "micro.ckpt").state["cfg"]


def test_the_iteration_is_done_again_as_if_it_had_not_begun(tmp_path):
    """Statistics and gradients of the attempt are undone: as a run with those subdivisions."""
    changes = (("subdivisions=2", "subdivisions=4"),)
    wanted = trainer(tmp_path / "a", 6, network(changes))
    wanted.run()
    run = trainer(tmp_path / "b", 6)
    limited(run, 1)
    run.run()
    run.output.metrics.table["iteration"] = wanted.output.metrics.table["iteration"]
    assert_same(run, wanted)


def test_one_image_too_many_is_said(tmp_path):
    run = trainer(tmp_path, 6)
    limited(run, 0)
    with pytest.raises(MemoryLimit, match=r"one image does not fit.*lower width"):
        run.run()
    assert read(tmp_path / "micro.ckpt").state["iteration"] == 0


def test_other_errors_are_not_taken_for_it(tmp_path):
    run = trainer(tmp_path, 6)

    def loss(x, truth):
        raise RuntimeError("shapes differ")

    run.net.loss = loss
    with pytest.raises(RuntimeError, match="shapes differ"):
        run.run()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_which_errors_they_are(error, expected):
    assert is_out_of_memory(error) == expected


@pytest.mark.parametrize(
    ("batch", "now", "more"),
    [(64, 8, 16), (64, 32, 64), (64, 64, None), (12, 2, 4), (9, 1, 3), (7, 1, 7), (10, 5, 10)],
)
def test_more_subdivisions_divide_the_batch(batch, now, more):
    found = SimpleNamespace(effective_batch=batch, subdivisions=now, time_steps=1)
    assert more_subdivisions(found) == more


@pytest.mark.parametrize(
    ("free", "subdivisions"), [(10**9, 1), (100 + 3 * 50, 1), (100 + 50, 2), (120, 4)]
)
def test_auto_batch_takes_as_few_subdivisions_as_fit(monkeypatch, free, subdivisions):
    """100 bytes for one image, 50 for each further one."""
    net, said = network(), []
    monkeypatch.setattr(memory, "_used", lambda device: 7)
    monkeypatch.setattr(memory, "_peak", lambda net, images, size, device: 57 + 50 * images)
    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    fit_subdivisions(net, (64, 64), torch.device("cpu"), said.append)
    assert net.options.subdivisions == subdivisions and net.options.effective_batch == 4
    assert len(said) == 1 and "64x64" in said[0]


def test_auto_batch_says_when_one_image_is_too_much(monkeypatch):
    monkeypatch.setattr(memory, "_used", lambda device: 0)
    monkeypatch.setattr(memory, "_peak", lambda *_: 100)
    monkeypatch.setattr(memory, "free_memory", lambda device: 99)
    with pytest.raises(MemoryLimit, match="one image of 64x64"):
        fit_subdivisions(network(), (64, 64), torch.device("cpu"), print)


# In a process of its own: what earlier tests took and freed would be taken again.
MEASURE = """
import json, torch
from tests.train.small_run import network
from yolo.train import memory
net = network((("filters=8", "filters=64"), ("stride=8", "stride=1"), ("width=32", "width=96")))
before = {name: value.clone() for name, value in net.state_dict().items()}
cpu = torch.device("cpu")
used = memory._used(cpu)
try:
    peaks = [memory._peak(net, images, (96, 96), cpu) - used for images in (1, 8)]
except OSError as error:
    peaks = str(error)
assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
assert tuple(net.input_shape[1:]) == (32, 96) and all(p.grad is None for p in net.parameters())
assert memory.free_memory(cpu) > 0
print(json.dumps(peaks))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_measured_grows_with_the_images_and_leaves_the_network_alone():
    env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-c", MEASURE]
    peaks = json.loads(subprocess.run(command, env=env, check=True, capture_output=True).stdout)
    if isinstance(peaks, str):
        pytest.skip(peaks)
    outputs = 4 * 64 * 96 * 96  # bytes of the first layer's output for one image
    assert peaks[1] - peaks[0] > 7 * outputs
    assert peaks[0] < 100 * outputs

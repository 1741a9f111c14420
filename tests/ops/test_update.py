"""Darknet's update in one pass against its formula in float64."""

import pytest
import torch
from torch.testing import assert_close

from yolo.ops.update import Entry, update

SIZES = (1, 7, (1 << 14) + 5, 3 * (1 << 14))
RATE, MOMENTUM = 0.3, 0.9


def clamped(x, limit):
    return x.clamp(-limit, limit) if limit else x


def expected(entry, rate):
    w, u = entry.weight.double(), entry.update.double()
    gradient = 0 if entry.weight.grad is None else entry.weight.grad.double()
    u = clamped(u - gradient, entry.limit) - entry.decay * w
    return clamped(w + rate * entry.rate * u, entry.clip), MOMENTUM * u


def entry(size, dtype=torch.float32, decay=0.02, rate=0.5, limit=0.0, clip=0.0):
    weight = torch.randn(size, dtype=dtype)
    weight.grad = torch.randn(size, dtype=dtype)
    return Entry(weight, torch.randn(size, dtype=dtype), decay, rate, limit, clip)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("limits", [(0, 0), (0.4, 0), (0, 0.3), (0.4, 0.3)], ids=str)
def test_every_value_follows_the_formula(dtype, limits):
    entries = [entry(size, dtype, 0.02 * i, 0.5 + i, *limits) for i, size in enumerate(SIZES)]
    entries[1].weight.grad = None
    wanted = [expected(e, RATE) for e in entries]
    versions = [e.weight._version for e in entries]
    update(entries, RATE, MOMENTUM)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-13
    for e, (w, u), version in zip(entries, wanted, versions, strict=True):
        assert_close(e.weight.double(), w, rtol=tolerance, atol=tolerance)
        assert_close(e.update.double(), u, rtol=tolerance, atol=tolerance)
        assert e.weight._version > version


def test_a_gradient_in_another_order_of_memory():
    e = entry((6, 5, 3, 3))
    e.weight.grad = torch.randn(6, 5, 3, 3).to(memory_format=torch.channels_last)
    w, u = expected(e, RATE)
    update([e], RATE, MOMENTUM)
    assert_close(e.weight.double(), w, rtol=1e-6, atol=1e-6)
    assert_close(e.update.double(), u, rtol=1e-6, atol=1e-6)


def test_nan_passes_every_clamp():
    e = entry(5, limit=0.1, clip=0.1)
    e.weight.grad[2] = float("nan")
    update([e], RATE, MOMENTUM)
    assert (
        e.weight.isnan().tolist() == e.update.isnan().tolist() == [False, False, True, False, False]
    )


def test_the_number_of_threads_changes_nothing(monkeypatch):
    found = []
    for count in (1, 3):
        torch.manual_seed(0)
        entries = [entry(size) for size in SIZES]
        monkeypatch.setattr("yolo.ops.update.threads", lambda n=count: n)
        update(entries, RATE, MOMENTUM)
        found.append(torch.cat([torch.cat((e.weight, e.update)) for e in entries]))
    assert torch.equal(*found)

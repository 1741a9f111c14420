"""The self-test of a device: it passes good kernels, names bad ones, and remembers."""

import json

import pytest
import torch

from yolo.ops.cuda import CudaError, selftest
from yolo.ops.precision import PrecisionError, precision_for


class Faulty:
    """The kernels, one of whose methods is spoilt."""

    def __init__(self, kernels, name, spoil):
        self.kernels, self.name, self.spoil = kernels, name, spoil

    def __getattr__(self, name):
        method = getattr(self.kernels, name)
        return (lambda *a: self.spoil(method(*a))) if name == self.name else method


def nothing(y):
    raise CudaError("no launch")


def nan_at_the_end(y):
    y[-1, -1, -1, -1] = torch.nan
    return y


def test_good_kernels_pass(machine, kernels):
    assert selftest.failures(kernels, machine.device) == {}


@pytest.mark.parametrize("within", [torch.no_grad, torch.inference_mode])
def test_it_may_be_the_first_thing_within_a_block_without_gradients(machine, kernels, within):
    """As it is: the first convolution of a process asks for it inside of its operator."""
    cases = {"depthwise": selftest.CASES["depthwise"]}
    with within():
        assert selftest.failures(kernels, machine.device, cases) == {}
        assert not torch.is_grad_enabled()


FAULTS = [
    ("implicit_grad_x", lambda y: 1.02 * y, "relative error 0.02", 3),
    ("im2col_forward", lambda y: y + 1e-4, "relative error", 2),
    ("implicit_sums", lambda y: y.roll(1, 0), "relative error", 3),
    ("stem_grad_weight", nan_at_the_end, "relative error nan", 2),
    ("depthwise_forward", nothing, "no launch", 4),
]


@pytest.mark.parametrize("method, spoil, words, types", FAULTS)
def test_a_bad_kernel_is_named(machine, kernels, monkeypatch, method, spoil, words, types):
    algorithm, pass_ = method.split("_", 1)
    monkeypatch.setattr(selftest, "CASES", {algorithm: selftest.CASES[algorithm]})
    found = selftest.failures(Faulty(kernels, method, spoil), machine.device)
    assert len(found) == types
    for name, text in found.items():
        assert name.startswith(f"{algorithm} {pass_} ") and words in text


def test_a_finding_is_kept_for_the_next_process(tmp_path):
    path, calls = tmp_path / "cache" / "selftest.json", []
    finding = {"implicit forward float16": "relative error 1"}

    def measure():
        calls.append(1)
        return finding

    for _ in range(2):
        assert selftest.remembered(path, "GPU, driver 1", measure) == finding
    assert len(calls) == 1
    assert selftest.remembered(path, "GPU, driver 2", dict) == {}
    assert len(json.loads(path.read_text())) == 2
    path.write_text("{ broken")
    assert selftest.remembered(path, "GPU, driver 2", dict) == {}
    assert json.loads(path.read_text()) == {"GPU, driver 2": {}}


def test_without_a_place_to_keep_it_the_test_runs_each_time(tmp_path):
    (tmp_path / "file").write_text("")
    assert selftest.remembered(tmp_path / "file" / "selftest.json", "GPU", dict) == {}


def test_a_failing_kernel_is_refused_by_name(monkeypatch):
    class Tensor:
        is_cuda, dtype, device = True, torch.float16, torch.device("cuda", 0)

    found = {"implicit grad_x float16": "relative error 0.3, limit 0.001"}
    monkeypatch.setattr(selftest, "_device_failures", lambda kernels, index: found)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    selftest.refuse(None, "implicit", "forward", Tensor)
    with pytest.raises(CudaError, match="implicit grad_x float16 computes wrong results on GPU"):
        selftest.refuse(None, "implicit", "grad_x", Tensor)


def test_tensor_cores_before_sm_80_are_refused(monkeypatch):
    class Tensor:
        is_cuda, dtype, device = True, torch.float32, torch.device("cuda", 0)

    monkeypatch.setattr(selftest, "_device_failures", lambda kernels, index: {})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    selftest.refuse(None, "im2col", "forward", Tensor)
    for refused in (
        lambda: selftest.refuse(None, "implicit", "forward", Tensor),
        lambda: precision_for("cuda", "bf16"),
    ):
        with pytest.raises(PrecisionError, match=r"8\.0 or later; T4 has 7\.5"):
            refused()
    assert precision_for("cuda") == "fp32"

"""What runs in a network's place when it predicts: a plan of its kernels, made once and kept."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from .ops import PrecisionError, precision_for
from .ops.backend import current_backend
from .ops.precision import precision as within
from .plan import Plan
from .plan.cuda import CudaPlan

if TYPE_CHECKING:
    from .network import Network

KEPT = 2  # forms of a network that stay compiled


@dataclass
class Compiled:
    """What is kept of a network."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    state: tuple[Any, ...] | None = None  # of the network when the runs were made
    runs: dict[Any, Any] = field(default_factory=dict)  # form -> what runs


_compiled: WeakKeyDictionary[Network, Compiled] = WeakKeyDictionary()  # network -> Compiled
_compiled_lock = threading.Lock()


def inference(net, batch=1, precision=None):
    """What computes net(x) for up to `batch` images at a time: batch normalisation folded, and on
    the CPU compiled into one plan. Kept until any tensor of the network changes; threads that ask
    for the same one wait for the first to make it.

    A network in training mode is compiled anew each time. PyTorch counts the writes to a tensor,
    those of our kernels and of weights.load among them. Writes through `.data` or a NumPy view are
    not counted; after such, predict from copy.deepcopy(net).
    """
    parameter = next(net.parameters(), None)
    precision = precision_for("cpu" if parameter is None else parameter.device, precision)
    if net.training:
        _compiled.pop(net, None)
        return _compile(net, batch, precision)
    form = batch, precision, current_backend(), torch.get_num_threads()
    with _compiled_lock:
        kept = _compiled.setdefault(net, Compiled())
    with kept.lock:
        state = _state(net)
        if kept.state != state:
            kept.runs.clear()  # frees the old copies before the new one is made
            kept.state = state
        if form not in kept.runs:
            while len(kept.runs) >= KEPT:
                del kept.runs[next(iter(kept.runs))]
            kept.runs[form] = _compile(net, batch, precision)
        return kept.runs[form]


PLANS = {"cpu": Plan, "cuda": CudaPlan}


def reset_state(net):
    """What is kept of a network forgets what its recurrent layers have seen."""
    with _compiled_lock:
        kept = _compiled.get(net)
    if kept is not None:
        with kept.lock:
            for run in kept.runs.values():
                run.reset_state()


def _compile(net, batch, precision):
    fused = net.fused()  # a copy: what is kept must not hold the network itself
    parameter = next(net.parameters(), None)
    single = parameter is None or parameter.dtype == torch.float32
    device = "cpu" if parameter is None else parameter.device.type
    if single and current_backend() == "native" and device in PLANS:
        return PLANS[device](fused, batch, precision=precision)
    if not single and precision == "bf16" and device == "cpu":
        raise PrecisionError(
            f"precision bf16: the network is {parameter.dtype}, and the CPU needs float32"
        )

    return Whole(fused, precision)


class Whole:
    """A network that runs as it is, in place of a plan."""

    def __init__(self, net, precision):
        self.net, self.precision = net, precision

    def __call__(self, x):
        with within(self.precision):
            return self.net(x)

    def reset_state(self):
        self.net.reset_state()


def _state(net):
    """What changes when a tensor is written, replaced or moved."""
    tensors = [
        tensor
        for module in net.modules()
        for tensor in (*module._parameters.values(), *module._buffers.values())
        if tensor is not None
    ]
    marks = [(id(t), t.data_ptr(), -1 if t.is_inference() else t._version) for t in tensors]
    return net.input_shape, marks


def compute(run, x):
    """What inference() made, run on x; also where a plan was made for more images than x has.
    Its precision was chosen then: autocast around the call changes nothing."""
    missing = run.shape[0] - len(x) if isinstance(run, (Plan, CudaPlan)) else 0
    with torch.autocast(x.device.type, enabled=False):
        if not missing:
            return run(x)
        padded = torch.cat([x, x.new_zeros(missing, *x.shape[1:])])
        return [y[: len(x)] for y in run(padded)]

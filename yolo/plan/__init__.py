"""Inference plans: a network compiled for one input size into one C++ call.

    plan = Plan(net, batch=1)
    outputs = plan(x)            the same list as net(x)
    print(plan.describe())       which kernel each layer got, and why

Activations lie in the packed layout of csrc/cpu/packed in one arena; concatenations are written in
place, batch normalisation is folded, activations and residuals are part of the convolutions. A
network with a layer that no packed kernel runs is run layer by layer, and describe() says so.
"""

import threading

import torch

from .. import _C
from ..ops import PrecisionError
from .choose import PRECISIONS, limit_weights
from .graph import Graph, Unsupported, place
from .lower import Lowering, output

WEIGHT_LIMIT = 1 << 30  # bytes; F(4x4) keeps four times the weights


class Plan:
    """A network compiled for `batch` images of its present input size; weights are copied.

    precision: "fast" uses Winograd's convolution where that is quicker (relative error about 4e-6
    a layer instead of 1e-6), "exact" never does; "bf16" keeps activations and weights in 16 bits
    (4e-3 a layer) and needs a processor with AVX512-BF16. weight_limit: bytes of packed weights,
    kept by taking smaller forms of the weights; None: no limit. level: instruction set, default
    the best.
    """

    def __init__(self, net, batch=1, threads=None, precision="fast", weight_limit=WEIGHT_LIMIT,
                 level=""):  # fmt: skip
        if precision not in PRECISIONS:
            raise ValueError(f"plan: precision {precision!r} is none of {', '.join(PRECISIONS)}")
        if batch < 1:
            raise ValueError(f"plan: batch must be at least 1, got {batch}")
        self.net = None  # what runs where the plan cannot; kept only then, weights being copied
        self.shape = (batch, *net.input_shape)
        self.precision = precision
        self.level, self.lanes = find_level(level, PRECISIONS[precision].number)
        self.threads = threads or torch.get_num_threads()
        self.fallback = None  # why the network runs layer by layer
        self._lock = threading.Lock()  # one arena: one forward at a time
        try:
            self._compile(net if net.is_fused else net.fused(), weight_limit)
        except Unsupported as error:
            self.fallback, self.net = str(error), net

    def _compile(self, net, weight_limit):
        graph = Graph(self.lanes, self.shape[0])
        precision = PRECISIONS[self.precision]
        low = Lowering(net, graph, precision)
        low.run()
        for index in net.heads:
            if not any(head == index for head, _, _ in graph.outputs):
                output(low, net.layers[index], graph.values[index], [], None)
        if weight_limit is not None:
            limit_weights(list(low.choices.values()), weight_limit)
        total, offsets = place(graph)
        self._plan = _C.packed.Plan(self.level, self.threads, total, precision.number)
        for root, offset in offsets.items():
            size = root.blocks, root.height, root.width, root.border
            root.buffer = self._plan.buffer(offset, self.shape[0], *size)
        self._spans = []  # C++ steps up to the end of each step
        for step in graph.steps:
            step.emit(self._plan)
            self._spans.append(self._plan.steps)
        self.rows = [_row(step) for step in graph.steps]
        self._outputs = sorted(
            (index, number, shape, finish)
            for number, (index, shape, finish) in enumerate(graph.outputs)
        )
        graph.steps.clear()  # they hold the weights, and a circle of references holds them

    @torch.no_grad()
    def __call__(self, x):
        """x (batch, C, H, W) float32 -> outputs of the heads, as the network gives them."""
        if tuple(x.shape) != self.shape:
            raise ValueError(f"plan: takes {self.shape}, got {tuple(x.shape)}")
        if self.fallback is not None:
            return self.net(x)
        x = x.to("cpu", torch.float32).contiguous()
        made = [None] * len(self._outputs)
        for _, number, shape, _ in self._outputs:
            made[number] = torch.empty(shape)
        with self._lock:
            self._plan.run(x.data_ptr(), [y.data_ptr() for y in made])
        return [
            made[number] if finish is None else finish(made[number])
            for _, number, _, finish in self._outputs
        ]

    @property
    def memory(self):
        """Bytes: packed weights, arena of activations, scratch of the threads."""
        if self.fallback is not None:
            return {}
        plan = self._plan
        return {
            "weights": plan.weight_bytes,
            "arena": plan.arena_bytes,
            "scratch": plan.scratch_bytes,
        }

    def profile(self, x, repeats=5):
        """[(layer, kernel, ms)] of each step: processor time of its slowest share, least of all."""
        self._plan.timing = True
        best = None
        for _ in range(repeats):
            self(x)
            times = self._plan.processor_milliseconds
            best = times if best is None else [min(a, b) for a, b in zip(best, times, strict=True)]
        self._plan.timing = False
        starts = [0, *self._spans[:-1]]
        return [
            (layer, kernel, sum(best[a:b]))
            for (layer, kernel, _), a, b in zip(self.rows, starts, self._spans, strict=True)
        ]

    def describe(self):
        """A table: which kernel each layer got, and why."""
        if self.fallback is not None:
            return f"runs layer by layer: {self.fallback}"
        size = " x ".join(map(str, self.shape))
        lines = [f"{self.level}, {self.threads} threads, precision {self.precision}, input {size}"]
        lines += [f"{layer:5d}  {kernel:12s} {why}".rstrip() for layer, kernel, why in self.rows]
        parts = ", ".join(f"{n / 2**20:.1f} MiB {what}" for what, n in self.memory.items())
        return "\n".join([*lines, parts])


def find_level(name, number):
    """(name, lanes) of the kernels that compute in `number`; name: "" takes the best ones."""
    try:
        return _C.packed.level(name, number)
    except ValueError as error:
        raise PrecisionError(str(error)) from None


def _row(step):
    choice = step.kernel
    if isinstance(choice, str):
        return step.layer, choice, step.why
    return step.layer, choice.algorithm, choice.why

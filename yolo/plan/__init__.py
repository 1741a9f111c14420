"""Inference plans: a network compiled for one input size into one C++ call.

    plan = Plan(net, batch=1)
    outputs = plan(x)            the same list as net(x)
    print(plan.describe())       which kernel each layer got, and why

Activations lie in the packed layout of csrc/cpu/packed in one arena; concatenations are written in
place, batch normalisation is folded, activations and residuals are part of the convolutions. A
layer that no packed kernel runs is run by itself, in float32, and describe() says so.
"""

import threading

import torch

from .. import _C
from ..ops import PrecisionError
from .choose import PRECISIONS, limit_weights, precision_of
from .graph import Graph, place
from .lower import Lowering

WEIGHT_LIMIT = 1 << 30  # bytes; F(4x4) keeps four times the weights


class Plan:
    """A network compiled for `batch` images of its present input size; weights are copied.

    precision: "fast" uses Winograd's convolution where that is quicker (relative error about 4e-6
    a layer instead of 1e-6), "exact" never does; "bf16" keeps activations and weights in 16 bits
    (4e-3 a layer) and needs a processor with AVX512-BF16, whose AMX it uses if there is one.
    weight_limit: bytes of packed weights, kept by taking smaller forms of the weights; None: no
    limit. level: instruction set, default the best.
    """

    def __init__(self, net, batch=1, threads=None, precision="fast", weight_limit=WEIGHT_LIMIT,
                 level=""):  # fmt: skip
        if precision not in PRECISIONS:
            raise ValueError(f"plan: precision {precision!r} is none of {', '.join(PRECISIONS)}")
        if batch < 1:
            raise ValueError(f"plan: batch must be at least 1, got {batch}")
        self.shape = (batch, *net.input_shape)
        self.precision = precision
        self.level, self.lanes = find_level(level, PRECISIONS[precision].number)
        self.threads = threads or torch.get_num_threads()
        self._lock = threading.Lock()  # one arena: one forward at a time
        self._compile(net if net.is_fused else net.fused(), weight_limit)

    def _compile(self, net, weight_limit):
        graph = Graph(self.lanes, self.shape[0])
        precision = precision_of(self.precision, self.level)
        low = Lowering(net, graph, precision)
        self._recurrent = [layer for layer in net.layers if hasattr(layer, "reset")]
        self._heads = low.run()
        if weight_limit is not None:
            limit_weights(list(low.choices.values()), weight_limit)

        def size(root):
            return self.shape[0], root.blocks, root.height, root.width, root.border

        def elements(root):
            return _C.packed.buffer_elements(self.level, precision.number, *size(root))

        total, offsets = place(graph, elements)
        self._plan = _C.packed.Plan(self.level, self.threads, total, precision.number)
        for root, offset in offsets.items():
            root.buffer = self._plan.buffer(offset, *size(root))
        runs = []  # of each step, its range of C++ steps or the layer that runs by itself
        for step in graph.steps:
            begin = self._plan.steps
            if step.host is None:
                step.emit(self._plan)
            runs.append(step.host or range(begin, self._plan.steps))
        self.rows = [_row(step) for step in graph.steps]
        self._planar = graph.planar
        self._steps, self._runs = runs, list(_joined(runs))
        by_layers = {step.host.output for step in graph.steps if step.host}
        self._made = set(range(1, len(graph.planar))) - by_layers  # planar tensors of the C++ plan
        graph.steps.clear()  # they hold the weights, and a circle of references holds them

    @torch.no_grad()
    def __call__(self, x):
        """x (batch, C, H, W) float32 -> outputs of the heads, as the network gives them."""
        if tuple(x.shape) != self.shape:
            raise ValueError(f"plan: takes {self.shape}, got {tuple(x.shape)}")
        planar = [None] * len(self._planar)
        planar[0] = x.to("cpu", torch.float32).contiguous()
        for number in self._made:
            planar[number] = torch.empty(self.shape[0], *self._planar[number])
        with self._lock:
            for run in self._runs:
                if isinstance(run, range):
                    addresses = [0 if t is None else t.data_ptr() for t in planar]
                    self._plan.run(run.start, run.stop, addresses)
                else:
                    run(planar)
        return [planar[number] for number in self._heads]

    def reset_state(self):
        """Recurrent layers forget what they have seen."""
        for layer in self._recurrent:
            layer.reset()

    @property
    def memory(self):
        """Bytes: packed weights, arena of activations, scratch of the threads."""
        plan = self._plan
        return {
            "weights": plan.weight_bytes,
            "arena": plan.arena_bytes,
            "scratch": plan.scratch_bytes,
        }

    def profile(self, x, repeats=5):
        """[(layer, kernel, ms)] of each step: processor time of its slowest share, least of all.
        What runs by itself is not timed: 0."""
        self._plan.timing = True
        best = None
        for _ in range(repeats):
            self(x)
            times = self._plan.processor_milliseconds
            best = times if best is None else [min(a, b) for a, b in zip(best, times, strict=True)]
        self._plan.timing = False
        return [
            (layer, kernel, sum(best[i] for i in run) if isinstance(run, range) else 0.0)
            for (layer, kernel, _), run in zip(self.rows, self._steps, strict=True)
        ]

    def describe(self):
        """A table: which kernel each layer got, and why."""
        size = " x ".join(map(str, self.shape))
        lines = [f"{self.level}, {self.threads} threads, precision {self.precision}, input {size}"]
        lines += [f"{layer:5d}  {kernel:12s} {why}".rstrip() for layer, kernel, why in self.rows]
        parts = ", ".join(f"{n / 2**20:.1f} MiB {what}" for what, n in self.memory.items())
        return "\n".join([*lines, parts])


def _joined(runs):
    """The runs, C++ steps that follow each other as one."""
    begin = end = 0
    for run in runs:
        if isinstance(run, range):
            end = run.stop
            continue
        if end > begin:
            yield range(begin, end)
        begin = end
        yield run
    if end > begin:
        yield range(begin, end)


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

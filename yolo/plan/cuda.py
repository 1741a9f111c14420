"""Inference plans for CUDA: a network as one call, and on a GPU as one CUDA graph.

    plan = CudaPlan(net.fused(), batch=16, precision="bf16")
    outputs = plan(x)

Activations of all layers lie in one arena in NHWC, those that are never alive together in the same
place. Kernels are recorded once with their pointers; a call copies x in, launches the list (or
replays the graph that it was captured in) and finishes the heads; plan.detect() finds the boxes of
[yolo] heads on the device instead. A network with a layer that has no step runs layer by layer, and
describe() says so.
"""

import threading

import torch

from ..ops.cuda.operators import kernels as cuda_kernels
from ..ops.cuda.record import Recorder
from ..ops.cuda.selftest import refuse
from ..ops.precision import HALVES
from ..ops.precision import precision as within
from .cuda_detect import DeviceHeads, detectable, exponent, grid_of
from .cuda_lower import Lowering, finishes
from .graph import Unsupported, lifetimes, pack

LINE = 128  # bytes to a multiple of which every map begins


class CudaPlan:
    """A folded network for `batch` images of its present input size, on the device of its
    parameters; they are copied. precision: a word of ops.precision.WORDS["cuda"]."""

    def __init__(self, net, batch=1, precision="fp32", kernels=None):
        if batch < 1:
            raise ValueError(f"plan: batch must be at least 1, got {batch}")
        self.net, self.precision = net, precision
        self.shape = (batch, *net.input_shape)
        self.dtype = HALVES.get(precision, torch.float32)
        self.device = next(net.parameters()).device
        self.fallback = None  # why the network runs layer by layer
        self._lock = threading.Lock()  # one arena: one forward at a time
        self._graphs = {}  # function -> (its CUDA graph, what it returned)
        self._finder = None
        try:
            self._build(kernels or cuda_kernels())
        except Unsupported as error:
            self.fallback = str(error)

    def _build(self, kernels):
        low = Lowering(self.net, self.shape[0], self.dtype, self.precision, kernels)
        low.run()
        used = {low.maps[index].root()[0] for index in self.net.heads}
        lives = lifetimes(low.steps)
        for root in used:  # heads are read after the last step
            lives[root] = (lives[root][0], len(low.steps))
        lives[low.maps[-1]] = (0, lives.get(low.maps[-1], (0, 0))[1])
        each = LINE // self.dtype.itemsize
        sizes = {m: -(-m.pitch * m.h * m.w * self.shape[0] // each) * each for m in lives}
        total, offsets = pack(lives, sizes)
        self._arena = torch.zeros(total, dtype=self.dtype, device=self.device)
        self.input = low.maps[-1].view(self._arena, offsets, self.shape[0])
        recorder = Recorder(kernels)
        for step in low.steps:
            y, *inputs = (
                m.view(self._arena, offsets, self.shape[0]) for m in (step.output, *step.inputs)
            )
            refuse(kernels, step.kernel.split(",")[0], "forward", y)
            step.emit(recorder, y, *inputs)
        self._run = recorder.finish(self.device)
        self._heads = [
            (self.net.layers[i], low.maps[i].view(self._arena, offsets, self.shape[0]))
            for i in self.net.heads
        ]
        if detectable([layer for layer, _ in self._heads]):
            grids = [grid_of(*head, self.net.input_shape[1:]) for head in self._heads]
            last = self._heads[-1][0]  # Darknet takes the kind of suppression from this one
            self._finder = DeviceHeads(grids, last.classes, exponent(last), kernels)
        self._kept = [step.emit for step in low.steps]  # they hold the weights
        self.rows = [(step.layer, step.kernel) for step in low.steps]

    def _forward(self):
        self._run()
        return [layer(y) if finishes(layer) else y.float() for layer, y in self._heads]

    def reset_state(self):
        """Recurrent layers forget what they have seen."""
        self.net.reset_state()

    @torch.no_grad()
    def __call__(self, x):
        """x (batch, C, H, W) -> outputs of the heads, as the network gives them."""
        if tuple(x.shape) != self.shape:
            raise ValueError(f"plan: takes {self.shape}, got {tuple(x.shape)}")
        if self.fallback is not None:
            with within(self.precision):
                return self.net(x)
        with self._lock:
            run = self._ready(self._forward)
            self.input.copy_(x)
            outputs = run()
            return [y.clone() for y in outputs] if self._graphs else outputs

    @torch.no_grad()
    def detect(self, x, places, thresh, nms):
        """x (B, C, H, W) of at most `batch` images, and their Placements -> for each image boxes
        relative to it, probabilities, probabilities after suppression; None where this cannot be
        done on the device, as for heads other than [yolo] or thousands of candidates."""
        if self._finder is None:
            return None
        with self._lock:
            run = self._ready(self._find)
            self.input[: len(x)].copy_(x)
            self._finder.set(places, thresh, nms)
            run()
            return self._finder.read(len(x))

    def _find(self):
        self._run()
        self._finder.launch()

    def _ready(self, work):
        """work, or on a GPU the CUDA graph that it becomes before its first input is there: later
        layers write over an input, and so do the runs that a capture begins with."""
        if self.device.type != "cuda":
            return work
        if work not in self._graphs:
            self._graphs[work] = self._capture(work)
        graph, results = self._graphs[work]

        def replay():
            graph.replay()
            return results

        return replay

    def _capture(self, work):
        """Two runs aside, as CUDA graphs want it, then the one that is recorded."""
        aside = torch.cuda.Stream(self.device)
        aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(aside):
            for _ in range(2):
                work()
        torch.cuda.current_stream(self.device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = work()
        return graph, results

    @property
    def memory(self):
        """Bytes of activations and of scratch."""
        if self.fallback is not None:
            return {}
        return {
            "arena": self._arena.numel() * self._arena.element_size(),
            "scratch": self._run.scratch.numel(),
        }

    def describe(self):
        """A table: which kernel each layer got."""
        if self.fallback is not None:
            return f"runs layer by layer: {self.fallback}"
        size = " x ".join(map(str, self.shape))
        lines = [f"{self.device}, precision {self.precision}, input {size}"]
        lines += [f"{layer:5d}  {kernel}" for layer, kernel in self.rows]
        parts = ", ".join(f"{n / 2**20:.1f} MiB {what}" for what, n in self.memory.items())
        return "\n".join([*lines, parts])

"""--graph: what lies before the heads, forward and backward, as CUDA graphs.

    loss = Graphs(net)
    loss(x, truth).total.backward()     as net.loss(x, truth), with two launches for all layers

A graph repeats kernels on the same memory with the same numbers, so one pair is recorded for each
size of the input, and again when layers begin to train (stopbackward). The heads choose boxes on
the host and stay outside, with all that reads them; so do the update and the factor of the loss.
Gradients are added up in memory that lasts, in the backward graph itself. Rolling statistics and
the state of random numbers are after a recording as they were before.
"""

from contextlib import contextmanager

import torch
from torch import nn

from ..errors import YoloError
from ..ops import layout, precision, statistics, unpack
from ..ops.grad import first_order
from .memory import is_out_of_memory

WARM = 3  # runs before a recording: memory, workspaces and the test of a device come to rest


class GraphError(YoloError, RuntimeError):
    """A network, or what it was asked to do, that no CUDA graph can repeat."""


class Body(nn.Module):
    """What lies before the heads of a network: x -> the maps that heads, and layers behind them,
    read."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        behind = set()
        for layer in net.layers:
            is_head = hasattr(layer, "loss") and not layer.onlyforward
            if is_head or behind.intersection(layer.sources):
                behind.add(layer.index)
        self.inside = [layer for layer in net.layers if layer.index not in behind]
        self.behind = [layer for layer in net.layers if layer.index in behind]
        self.read = sorted({s for layer in self.behind for s in layer.sources} - behind)

    def forward(self, x, visit=None):
        self.net.check_images(x)
        outputs = {-1: x}
        with layout(self.net.layout):
            self.net.advance(self.inside, outputs, self.read, visit)
            return tuple(unpack(outputs[index]) for index in self.read)

    def loss(self, maps, truth, images):
        """The Report of net.loss(), from forward()'s maps of so many images."""
        outputs = dict(zip(self.read, maps, strict=True))

        def run(visit):
            self.net.advance(self.behind, outputs, (), visit)

        return self.net.report(run, truth, images)


class Graphs:
    """A function (x, truth) -> Report of a network on a GPU, in training."""

    def __init__(self, net):
        self.net, self.body = net, Body(net)
        self._refuse()
        self._pairs, self._still, self._pool = {}, None, None
        self._sums = {}  # parameter -> memory for its gradient, which all pairs add to
        self._turn = 0  # forward passes so far
        self._anchor = torch.zeros((), requires_grad=True)  # makes autograd ask for the gradients

    def _refuse(self):
        device = next(self.net.parameters()).device
        if device.type != "cuda":
            raise GraphError(f"CUDA graphs are for a GPU; the network is on {device}")
        if self.net.checkpoint_activations:
            raise GraphError("CUDA graphs do not go with checkpoint_activations")
        for layer in self.body.inside:
            if layer.changes:
                raise layer.section.error(f"cannot be part of a CUDA graph: {layer.changes}")

    def __call__(self, x, truth):
        if statistics.current == "shared":
            raise GraphError("CUDA graphs do not go with statistics of several processes")
        return self.body.loss(self.maps(x), truth, len(x))

    def maps(self, x):
        """What Body gives of x, which a backward pass may follow until the next call."""
        return _Replay.apply(self._anchor, self, self._pair(x), x)

    def clear(self):
        """Forgets what was recorded, and frees its memory."""
        self._pairs, self._pool = {}, None

    def _pair(self, x):
        if self._still != self.net.still:
            self.clear()
            self._still = self.net.still
        key = x.shape, x.dtype, precision.current
        if key not in self._pairs:
            # one at a time is replayed, forward and backward: they may share their memory
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            self._pairs[key] = Pair(self.body, x, self._pool, self._sums)
        return self._pairs[key]

    def forward(self, pair, x):
        """(the number of this pass, its maps)"""
        self._turn += 1
        pair.x.copy_(x)
        pair.forward.replay()
        return self._turn, tuple(m.detach() for m in pair.maps)

    def backward(self, pair, turn, grads):
        """Adds the gradients of the parameters to what they have."""
        if turn != self._turn:
            raise GraphError("the maps of this loss were overwritten by a later forward pass")
        for kept, grad in zip(pair.grads, grads, strict=True):
            kept.zero_() if grad is None else kept.copy_(grad)
        sums = [(p, self._sums[p]) for p in pair.reached]
        fresh = [sum_ for p, sum_ in sums if p.grad is None]
        if fresh:
            torch._foreach_zero_(fresh)
        for p, sum_ in sums:
            if p.grad is not None and p.grad is not sum_:
                sum_.copy_(p.grad)
            p.grad = sum_
        pair.backward.replay()


class Pair:
    """Forward and backward for one size of x, recorded: they read x and grads, give maps, and add
    to the sums of the parameters that were reached."""

    def __init__(self, body, x, pool, sums):
        self.x, self._body, self._pool = x.clone(), body, pool
        self._parameters = [p for p in body.parameters() if p.requires_grad]
        self._at = None  # the layer that is being recorded
        with _unchanged(body.net, x.device), _without_autocast_cache():
            self._warm()
            for p in self.reached:
                sums.setdefault(p, torch.zeros_like(p))
            try:
                self._record(sums)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                raise GraphError(self._described(error)) from error
        del self._body

    def _described(self, error):
        where = "the backward pass"
        if self._at is not None:
            where = f"layer {self._at.index} [{self._at.section.name}]"
        text = str(error).partition("\n")[0] or type(error).__name__
        return f"{where} cannot be part of a CUDA graph: {text}; train without --graph"

    def _warm(self):
        device = self.x.device
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(WARM):
                maps = self._body(self.x)
                found = self._gradients(maps, [torch.zeros_like(m) for m in maps])
        torch.cuda.current_stream(device).wait_stream(aside)
        pairs = zip(self._parameters, found, strict=True)
        self.reached = [p for p, grad in pairs if grad is not None]

    def _gradients(self, maps, grads):
        """Those of all parameters; None where no map depends on one."""
        pairs = [(m, g) for m, g in zip(maps, grads, strict=True) if m.requires_grad]
        if not pairs:
            return [None] * len(self._parameters)
        return torch.autograd.grad(
            [m for m, _ in pairs], self._parameters, [g for _, g in pairs], allow_unused=True
        )

    def _record(self, sums):
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with self._recording(self.forward):
            maps = self._body(self.x, self._visit)
        self._at = None
        self.maps, self.trained = [m.detach() for m in maps], [m.requires_grad for m in maps]
        self.grads = [torch.zeros_like(m) for m in maps]
        with self._recording(self.backward):
            found = [g for g in self._gradients(maps, self.grads) if g is not None]
            if found:
                torch._foreach_add_([sums[p] for p in self.reached], found)

    def _visit(self, layer, inputs):
        self._at = layer

    def _recording(self, graph):
        # other threads, which load images, may go on meanwhile
        return torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local")


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx, anchor, graphs, pair, x):
        ctx.graphs, ctx.pair = graphs, pair
        ctx.turn, maps = graphs.forward(pair, x)
        pairs = zip(maps, pair.trained, strict=True)
        ctx.mark_non_differentiable(*(m for m, trained in pairs if not trained))
        ctx.set_materialize_grads(False)
        return maps

    @staticmethod
    @first_order("--graph")
    def backward(ctx, *grads):
        ctx.graphs.backward(ctx.pair, ctx.turn, grads)
        return None, None, None, None


@contextmanager
def _unchanged(net, device):
    """Rolling statistics and random numbers are afterwards as they were."""
    before = [buffer.clone() for buffer in net.buffers()]
    try:
        with torch.random.fork_rng([device], device_type="cuda"):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(net.buffers(), before, strict=True):
                buffer.copy_(value)


@contextmanager
def _without_autocast_cache():
    """What autocast remembers of the weights may not be recorded."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)

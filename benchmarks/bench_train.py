"""A training step on a GPU (forward, loss, backward, update), ours beside PyTorch's operators.

    python benchmarks/bench_train.py --cfg cfg/yolov4.cfg --size 608 --batch 16 --precision bf16
    python benchmarks/bench_train.py --modes eager compiled graph --ours eager graph

The peer is the same network as its users would write it, on cuDNN in channels_last under autocast:
eager, compiled (torch.compile), or as CUDA graphs; ours is eager or as CUDA graphs. In both, graphs
hold what lies before the heads, forward and backward; the loss chooses boxes on the host and stays
outside. The gradients of each mode are compared with ours first; then ABBA pairs, each of ours with
each of the peer's. Peak memory is that of one step and all that it keeps, for modes without
graphs.
"""

# ruff: noqa: E402
import argparse
import copy
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from bench_network import network
from gpu_timing import (
    Tries,
    Wrong,
    at_its_best,
    compare,
    footprint,
    machine,
    require_gpu,
    save,
    timed,
)
from shapes import PASSES, ceiling_of, network_floor
from training_step import as_pytorch

from yolo import ops
from yolo.optimizer import DarknetSGD
from yolo.train.graph import Body, Graphs

# Cosines of the gradients of both sides, each of which rounds in its own places: the mean over all
# weights, and the least. Random weights make a deep network with batch normalisation chaotic: a
# rounding grows until nothing can be compared. BIAS keeps its units where they are almost linear.
# So on yolov4 bfloat16 beside float32 has a mean of 0.98, on yolov3 of 0.99.
MEAN, LEAST = {"bf16": 0.9, "fp16": 0.98, "tf32": 0.98, "fp32": 0.9999}, 0.7
BIAS = 2.0
RATE = 1e-6
ITERATION = 100_000  # past every stopbackward and burn-in: all layers train
OURS, PEERS = ("eager", "graph"), ("eager", "compiled", "graph")
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Step:
    """One side's training step."""

    def __init__(self, net, within, x, boxes, mode):
        """within: context of forward and update."""
        self.net, self.within, self.x, self.boxes = net, within, x, boxes
        self.body, self.optimizer = Body(net), DarknetSGD(net)
        self.maps = self.body
        if mode == "compiled":
            self.maps = torch.compile(self.body, dynamic=False)
        if mode == "graph":
            self.maps = Graphs(net).maps

    def __call__(self):
        self.backward()
        with self.within():
            self.optimizer.step(RATE, len(self.x), ITERATION)

    def backward(self):
        with self.within():
            report = self.body.loss(self.maps(self.x), self.boxes, len(self.x))
        report.total.backward()

    def gradients(self):
        """Those of all weights, from fixed gradients of the maps: a loss would have thresholds."""
        with self.within():
            maps = self.maps(self.x)
        ramps = [torch.arange(m.numel(), device=m.device).sin().view(m.shape) for m in maps]
        torch.autograd.backward(maps, [r.to(m.dtype) for r, m in zip(ramps, maps, strict=True)])
        found = [p.grad.double() for p in self.net.parameters() if p.dim() == 4]
        self.net.zero_grad(set_to_none=True)
        return found


def ours(net, precision):
    """(a copy of the net, context of its steps)"""
    return copy.deepcopy(net), lambda: ops.precision(precision)


def peer(net, precision):
    """The same on PyTorch's operators."""
    dtype = HALVES.get(precision)

    @contextmanager
    def within():
        cast = torch.autocast("cuda", dtype or torch.bfloat16, dtype is not None)
        with ops.backend("torch"), cast:
            yield

    return as_pytorch(copy.deepcopy(net), torch.channels_last), within


def truths(batch, device):
    """Ten boxes an image."""
    boxes = torch.rand(10 * batch, 6) * 0.4 + 0.3
    boxes[:, 0], boxes[:, 1] = torch.arange(10 * batch) // 10, 0
    return boxes.to(device)


def opened(side, mode, wanted, precision):
    """(step, mean cosine of its gradients and `wanted`, bytes or None); side: all of Step but mode,
    made anew by a call."""
    found = []

    def build():
        step = Step(*side(), mode)
        pairs = zip(step.gradients(), wanted, strict=True)
        cosines = torch.stack([torch.cosine_similarity(*map(torch.flatten, p), 0) for p in pairs])
        found.append(cosines.mean().item())
        if not (found[0] >= MEAN[precision] and cosines.min() >= LEAST):
            raise Wrong(
                f"gradients point apart: cosines of {found[0]:.4f} on average, "
                f"the least {cosines.min():.4f} at weight {cosines.argmin()}"
            )
        return step

    step, size = footprint(build)
    return step, found[0], None if mode == "graph" else size


def measure(settings, tries, device="cuda", clock=timed):
    """Rows of each of our modes beside each of the peer's."""
    net = network(settings.cfg, settings.size).to(device).train()
    net.iteration = ITERATION
    for layer in net.layers:
        if getattr(layer, "batch_normalize", False):
            nn.init.constant_(layer.bias, BIAS)
    x = torch.rand(settings.batch, *net.input_shape, device=device)
    last, boxes = x.to(memory_format=torch.channels_last), truths(settings.batch, device)
    sides = (
        lambda: (*ours(net, settings.precision), x, boxes),
        lambda: (*peer(net, settings.precision), last, boxes),
    )
    wanted = Step(*sides[0](), "eager").gradients()
    mine = {}
    for mode in settings.ours:
        with tries.of(f"ours, {mode}"):
            mine[mode] = opened(sides[0], mode, wanted, settings.precision)
    for mode in settings.modes:
        with tries.of(f"the peer's, {mode}"):
            theirs = opened(sides[1], mode, wanted, settings.precision)
            for our_mode, own in mine.items():
                row = compare([own[0]], [theirs[0]], settings.pairs, clock)._asdict()
                row |= {"our_mode": our_mode, "peer_mode": mode, "cosine": theirs[1]}
                yield row | {"our_bytes": own[2], "peer_bytes": theirs[2]}


def line(row):
    memory = ""
    if row["our_bytes"] and row["peer_bytes"]:
        sizes = (row[side] / 2**30 for side in ("our_bytes", "peer_bytes"))
        memory = "; memory {:.2f} of {:.2f} GiB".format(*sizes)
    return (
        f"{row['network']} {row['size']} batch {row['batch']}: "
        f"ours, {row['our_mode']}, {row['ours'] * 1e3:.1f} ms, "
        f"{row['peer_mode']} {row['peer'] * 1e3:.1f} ms, "
        f"{row['ratio']:.2f} ({row['low']:.2f}-{row['high']:.2f}){memory}"
    )


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cfg", default=str(ROOT / "cfg" / "yolov4.cfg"))
    parser.add_argument("--size", type=int, default=608)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", choices=("bf16", "fp16", "tf32", "fp32"), default="bf16")
    parser.add_argument("--ours", nargs="+", choices=OURS, default=["eager"])
    parser.add_argument("--modes", nargs="+", choices=PEERS, default=["eager"], help="the peer's")
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--json", type=Path, help="write the rows there")
    return parser.parse_args(arguments)


def main(arguments=None):
    settings = parse(arguments)
    require_gpu("bench_train.py (bench_network.py --train measures a CPU)")
    at_its_best(settings.precision)
    content = {"kind": "train", "machine": machine(), "precision": settings.precision}
    content["rows"] = []
    ceiling, size = ceiling_of(content["machine"]["device"]), (settings.size, settings.size)
    case = settings.cfg, settings.batch, size
    least = network_floor(*case, PASSES, settings.precision, ceiling)
    tries = Tries()
    for row in measure(settings, tries):
        row |= {"network": Path(settings.cfg).stem, "size": settings.size, "batch": settings.batch}
        row["of_floor"] = least / row["ours"]
        content["rows"].append(row)
        save(settings.json, content)
        print(line(row), flush=True)
    tries.finish()


if __name__ == "__main__":
    main()

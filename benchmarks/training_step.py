"""A training step (forward, loss, backward) on the CPU: ours, and PyTorch's in either layout.

    python benchmarks/training_step.py yolov4-tiny:416:8 yolov3:416:2
    python benchmarks/training_step.py yolov4-tiny:416:8 --peak ours      peak memory of one side

Every side trains the same network from the same weights on the same images, in turns; PyTorch's is
written as its users would: conv2d, batch_norm, leaky_relu or mish in place, max_pool2d,
interpolate, dropout. Peak memory is that of a process of its own, and that of a change of the input
size the first step after it beside the later ones. All layers train (stopbackward=N is over);
gradients are compared without [dropout], for which each side draws numbers of its own.
"""

import argparse
import functools
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from timing import header, race, ratio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from yolo import cfg, ops
from yolo.layers.batchnorm import EPS
from yolo.network import Network

CFG = Path(__file__).resolve().parents[1] / "cfg"
PEERS = {"torch": torch.contiguous_format, "torch channels_last": torch.channels_last}
SIDES = ("ours", *PEERS)
# Relative L2 of all weights' gradients from those in float64; twice that of PyTorch's worse layout
# is allowed too. Where a leaky unit is next to 0 its two slopes are ten times apart, and the loss
# has thresholds: exact sums differ by as much as Winograd's do.
TOLERANCE = 4e-2
ITERATION = 100_000  # past every stopbackward
ACTIVATIONS = {
    "linear": lambda x: x,
    "leaky": lambda x: F.leaky_relu(x, 0.1, inplace=True),
    "mish": lambda x: F.mish(x, inplace=True),
    "swish": lambda x: F.silu(x, inplace=True),
    "relu": lambda x: F.relu(x, inplace=True),
    "logistic": torch.sigmoid,
}


class Step:
    """One side's step at a size that can change."""

    def __init__(self, side, name, size, batch):
        sections = cfg.read(name if str(name).endswith(".cfg") else CFG / f"{name}.cfg")
        self.net, self.side, self.batch = Network(sections, seed=0).train(), side, batch
        self.net.iteration = ITERATION
        if side != "ours":
            as_pytorch(self.net, PEERS[side])
        self.resize(size)

    def resize(self, size):
        self.net.resize(size, size)
        generator = torch.Generator().manual_seed(0)
        self.x = torch.rand(self.batch, *self.net.input_shape, generator=generator)
        self.x = self.x.contiguous(memory_format=PEERS.get(self.side, torch.contiguous_format))
        self.boxes = torch.rand(10 * self.batch, 6, generator=generator) * 0.4 + 0.3
        self.boxes[:, 0] = torch.arange(10 * self.batch) // 10
        self.boxes[:, 1] = 0

    def __call__(self):
        self.net.zero_grad(set_to_none=True)
        with ops.backend("native" if self.side == "ours" else "torch"), ops.precision("fast"):
            self.net.loss(self.x, self.boxes).total.backward()

    def gradients(self):
        """Those of all kernels, one after the other, after a step without [dropout]."""
        layers = [layer for layer in self.net.layers if type(layer).__name__ == "Dropout"]
        shares = [layer.probability for layer in layers]
        for layer in layers:
            layer.probability = 0
        self()
        for layer, share in zip(layers, shares, strict=True):
            layer.probability = share
        trained = (p for p in self.net.parameters() if p.requires_grad and p.dim() == 4)
        return torch.cat([p.grad.double().flatten() for p in trained])

    def double(self):
        """The same step in float64."""
        self.net, self.x, self.boxes = self.net.double(), self.x.double(), self.boxes.double()
        return self


def as_pytorch(net, memory_format):
    """The net, its layers that take the time with the forward that a user of PyTorch would write;
    in evaluation its normalisation is folded (net.fused())."""
    net.to(memory_format=memory_format)
    for layer in net.layers:
        if type(layer).__name__ == "Convolutional":
            layer.forward = lambda x, layer=layer: convolutional(layer, x)
        if type(layer).__name__ == "Upsample":
            layer.forward = lambda x, layer=layer: F.interpolate(x, scale_factor=layer.stride)
        if type(layer).__name__ == "Dropout" and not layer.dropblock:
            layer.forward = lambda x, layer=layer: F.dropout(x, layer.probability, layer.training)
        if type(layer).__name__ == "Shortcut" and layer.packs and len({*layer.in_shapes}) == 1:
            layer.forward = lambda *x, layer=layer: ACTIVATIONS[layer.activation](sum_of(x))
        if type(layer).__name__ == "Maxpool" and not layer.maxpool_depth:
            layer.forward = lambda x, layer=layer: maxpool(layer, x)
    return net


def maxpool(layer, x):
    """The operator alone where both sides are padded alike, or no window reaches the padding."""
    before, after = layer.padding // 2, layer.padding - layer.padding // 2
    last = [(n - 1) * step for n, step in zip(layer.out_shape[1:], layer.stride, strict=True)]
    inside = all(n + layer.size <= size for n, size in zip(last, x.shape[2:], strict=True))
    if before != after and not (before == 0 and inside):
        x, before = F.pad(x, (before, after, before, after), value=float("-inf")), 0
    return F.max_pool2d(x, layer.size, layer.stride, before)


def sum_of(tensors):
    return functools.reduce(torch.add, tensors)


def convolutional(layer, x):
    normalised = layer.batch_normalize
    bias = None if normalised else layer.bias
    how = layer.stride, layer.pad_cells, layer.dilation, layer.groups
    x = F.conv2d(x, layer.weight, bias, *how)
    if normalised:
        rolling = layer.rolling_mean, layer.rolling_var
        x = F.batch_norm(x, *rolling, layer.scale, layer.bias, True, 0.01, EPS)
    return ACTIVATIONS[layer.activation](x)


def compare(name, size, batch, args):
    """Checks and races the sides, then prints peaks and what a change of size costs.

    name: of a .cfg in cfg/, or the path of one; args: repeats and threads."""
    steps = {side: Step(side, name, size, batch) for side in SIDES}
    errors = deviations(name, size, batch, steps)
    theirs = max(errors[peer] for peer in PEERS)
    for side, error in errors.items():
        if not error <= max(TOLERANCE, 2 * theirs):
            raise SystemExit(
                f"{name}: gradients of {side} differ from those in float64 by {error:.1e}, "
                f"PyTorch's by at most {theirs:.1e}"
            )
    rounds = race(steps, args.repeats)
    for side, times in rounds.items():
        middle, spread = ratio(rounds["ours"], times)
        print(
            f"{name:<12}{size:>5}{batch:>3}  {side:<20}{1e3 * statistics.median(times):>8.0f} ms  "
            f"x{middle:5.2f} +-{spread:.2f}{peak(side, name, size, batch):>8.0f} MiB",
            flush=True,
        )
    first, later = change(steps["ours"], size - 96)
    print(
        f"{name:<12}{size - 96:>5}{batch:>3}  after a change of size: first step "
        f"{1e3 * first:.0f} ms, later ones {1e3 * later:.0f} ms"
    )


def deviations(name, size, batch, steps):
    """Relative L2 of each side's gradients from PyTorch's in float64."""
    expected = Step("torch", name, size, batch).double().gradients()
    return {
        side: float((step.gradients() - expected).norm() / expected.norm())
        for side, step in steps.items()
    }


def change(step, size):
    """Seconds of the first step after a change of size (the change included), and of later ones."""
    times = []
    for i in range(4):
        start = time.perf_counter()
        if i == 0:
            step.resize(size)
        step()
        times.append(time.perf_counter() - start)
    return times[0], statistics.median(times[1:])


def peak(side, name, size, batch):
    """MiB of resident memory that a process needs for three steps, its libraries included."""
    case = f"{name}:{size}:{batch}"
    command = [sys.executable, __file__, case, "--peak", side]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def high_water():
    """MiB of this process at its peak. (getrusage would count what the parent had before exec.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="cfg:size:batch")
    parser.add_argument("--peak", choices=SIDES)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cases = [case.split(":") for case in args.cases or ("yolov4-tiny:416:8", "yolov3:416:2")]
    if not args.peak:
        print(header(args.threads))
    for name, size, batch in cases:
        if not args.peak:
            compare(name, int(size), int(batch), args)
            continue
        step = Step(args.peak, name, int(size), int(batch))
        for _ in range(3):
            step()
        print(high_water())


if __name__ == "__main__":
    main()

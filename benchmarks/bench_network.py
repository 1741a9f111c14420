"""Whole networks on the CPU: inference and a training step, ours beside PyTorch's operators.

    python benchmarks/bench_network.py                       the two figures of README
    python benchmarks/bench_network.py --cfg cfg/yolov4.cfg --size 608 --batch 1 --infer

Both sides compute the same network in the same process, first once each to compare the results,
then in turns; the ratio is the median over the turns (above 1: ours is quicker). Weights are
random, so is the input.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from timing import header, paired

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from yolo import cfg, ops
from yolo.network import Network
from yolo.plan import Plan

# What Darknet (AVX2, OpenMP) took on a two-core machine of the same kind, in seconds.
DARKNET = {("yolov3", 416, 1, "inference"): 1.05, ("yolov4-tiny", 416, 8, "training step"): 8.2}
# Relative L2 between the two sides. Gradients differ by more than rounding: where a leaky unit is
# next to 0 its two slopes are ten times apart, and the loss has thresholds of its own. Against
# float64 PyTorch's of yolov4-tiny are 2e-3 away, ours 4e-3, with Winograd 8e-3.
TOLERANCE = {"inference": 1e-3, "training step": 2e-2}


@dataclass
class Case:
    """One network at one size: two functions that compute the same, and what they returned."""

    name: str
    what: str
    ours: object
    peer: object


def network(path, size, seed=0):
    """The network of a cfg at another input size."""
    sections = cfg.read(path)
    sections[0].set("width", size)
    sections[0].set("height", size)
    net = Network(sections, seed=seed)
    for name, buffer in net.named_buffers():
        if name.endswith("rolling_var"):
            buffer.fill_(1 / 3)  # keeps the size of values from layer to layer; 0 overflows
    return net


def inference(path, size, batch):
    """Forward of the compiled plan against the folded network on PyTorch's operators."""
    folded = network(path, size).fused()
    plan, x = Plan(folded, batch=batch), torch.rand(batch, *folded.input_shape)

    @torch.no_grad()
    def peer():
        with ops.backend("torch"):
            return folded(x)

    return Case(Path(path).stem, "inference", lambda: plan(x), peer)


def training(path, size, batch):
    """Forward, loss and backward of a mini-batch, without the update."""
    net = network(path, size).train()
    x = torch.rand(batch, *net.input_shape)
    boxes = torch.rand(10 * batch, 6) * 0.4 + 0.3
    boxes[:, 0] = torch.arange(10 * batch) // 10
    boxes[:, 1] = 0

    def step(backend):
        with ops.backend(backend), ops.precision("fast"):
            net.zero_grad(set_to_none=True)
            net.loss(x, boxes).total.backward()
            return [p.grad for p in net.parameters() if p.dim() == 4]

    return Case(Path(path).stem, "training step", lambda: step("native"), lambda: step("torch"))


def difference(ours, peer):
    """Relative L2 distance between two lists of tensors, taken together."""
    ours, peer = (torch.cat([t.flatten() for t in side]).double() for side in (ours, peer))
    return float((ours - peer).norm() / peer.norm())


def run(case, size, batch, repeats):
    """Checks, times and prints one case."""
    error = difference(case.ours(), case.peer())
    if not error <= TOLERANCE[case.what]:
        raise SystemExit(f"{case.name} {case.what}: the two sides differ by {error:.1e}")
    times = paired(case.ours, case.peer, repeats)
    darknet = DARKNET.get((case.name, size, batch, case.what))
    against = f"{darknet / times.ours:6.2f}" if darknet else "     -"
    print(
        f"{case.name:<14}{case.what:<15}{size:>5}{batch:>4}{1e3 * times.ours:>11.1f}"
        f"{1e3 * times.peer:>11.1f}{times.ratio:>8.2f}{against:>9}   {error:.1e}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cfg", help="one network instead of the two of README")
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--infer", action="store_true")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = Path(__file__).resolve().parents[1] / "cfg"
    cases = [
        (inference, folder / "yolov3.cfg", 416, 1),
        (training, folder / "yolov4-tiny.cfg", 416, 8),
    ]
    if args.cfg:
        kinds = [inference] * args.infer + [training] * args.train or [inference, training]
        cases = [(kind, args.cfg, args.size, args.batch) for kind in kinds]
    print(header(args.threads))
    print(
        f"{'network':<14}{'what':<15}{'size':>5}{'N':>4}{'ours ms':>11}{'torch ms':>11}"
        f"{'ratio':>8}{'Darknet':>9}   difference"
    )
    for kind, path, size, batch in cases:
        run(kind(path, size, batch), size, batch, args.repeats)
    if not args.cfg:
        print("Darknet: its time on a machine of this kind (1050 and 8200 ms) / ours")


if __name__ == "__main__":
    main()

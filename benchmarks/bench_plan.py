"""Where the time of an inference plan goes: share of the peak by kernel, scaling, compile time.

    python benchmarks/bench_plan.py yolov4:608 yolov3:416 --threads 2 --levels avx512 avx2
    python benchmarks/bench_plan.py yolov3:416 --layers

Times of kernels are processor times of one thread, least of all rounds: other programs on the
machine do not lengthen them. The peak is measured in the same run, with multiply-adds from
registers. Winograd counts what a direct convolution would do, so it may pass the peak. Scaling is
the time of one thread by (threads times the slowest share's time, summed over the steps), again in
processor time, and the same on the clock. Weights are random. With several levels a table beside
each other ends the run.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from timing import header, seconds

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_network import network

from yolo import _C
from yolo.plan import Plan
from yolo.plan.choose import PRECISIONS

CONVOLUTIONS = "direct", "stem", "depthwise", "winograd", "phases"
POINTWISE = "direct 1x1", "direct 1x1 wide"
CFG = Path(__file__).resolve().parents[1] / "cfg"


def kind(layer, kernel):
    """The kernel, and of a direct one the shape class that decides how it fares."""
    if kernel != "direct":
        return kernel
    stride = f" / {layer.stride[0]}" if layer.stride[0] > 1 else ""
    wide = " wide" if layer.size == 1 and layer.out_shape[2] > 150 else ""
    return f"direct {layer.size}x{layer.size}{stride}{wide}"


def kernels(net, plan, x, repeats, layers):
    """{kind: [milliseconds, operations]}; prints each layer if asked to."""
    found = {}
    for index, kernel, ms in plan.profile(x, repeats):
        layer = net.layers[index]
        work = layer.flops() if kernel.startswith(CONVOLUTIONS) else 0
        name = kind(layer, kernel)
        entry = found.setdefault(name, [0.0, 0])
        entry[0] += ms
        entry[1] += work
        if layers and ms > 0:
            print(
                f"  {index:4d} {name:18s}{ms:9.3f} ms {work / ms / 1e6:7.0f} GFLOP/s  "
                f"{layer.out_shape}"
            )
    return found


def bench(name, size, level, args):
    """{kind: share of the peak} of one network at one level, and "scaling"; prints the times."""
    net = network(CFG / f"{name}.cfg", size).fused()
    x = torch.rand(args.batch, *net.input_shape)
    plans, compiled = {}, {}
    for threads in (args.threads, 1):
        torch.set_num_threads(threads)
        start = time.perf_counter()
        plans[threads] = Plan(net, args.batch, threads, args.precision, level=level)
        compiled[threads] = time.perf_counter() - start
    number = PRECISIONS[args.precision].number
    before = _C.packed.peak(level, number)
    found = kernels(net, plans[1], x, args.repeats, args.layers)
    peak = max(before, _C.packed.peak(level, number))  # before or after: other programs slow it
    print(f"{name} {size}, {plans[1].level}, peak of a core {peak / 1e9:.0f} GFLOP/s")
    shares = {}
    for entry, (ms, work) in sorted(found.items(), key=lambda item: -item[1][0]):
        if work and ms:
            shares[entry] = work / ms / 1e-3 / peak
        share = f"{shares[entry]:6.2f} of the peak" if entry in shares else ""
        print(f"  {entry:18s}{ms:9.2f} ms {share}")
    pointwise = [found[entry] for entry in POINTWISE if entry in found]
    if len(pointwise) > 1:
        ms, work = map(sum, zip(*pointwise, strict=True))
        shares["direct 1x1, both"] = work / ms / 1e-3 / peak
    alone = sum(ms for ms, _ in found.values())
    together = sum(ms for _, _, ms in plans[args.threads].profile(x, args.repeats))
    clock = {
        threads: statistics.median(seconds(lambda p=plan: p(x), 1) for _ in range(args.repeats))
        for threads, plan in plans.items()
    }
    shares["scaling"] = alone / together / args.threads
    print(
        f"  {alone:.1f} ms on 1 thread, {together:.1f} ms on {args.threads}: scaling "
        f"{shares['scaling']:.0%}; on the clock {1e3 * clock[1]:.1f} and "
        f"{1e3 * clock[args.threads]:.1f} ms: {clock[1] / clock[args.threads] / args.threads:.0%}; "
        f"compiled in {compiled[args.threads]:.2f} s",
        flush=True,
    )
    return shares


def table(columns):
    """Markdown of {heading: {kind: share}}, one line a kind."""
    kinds = sorted({kind for shares in columns.values() for kind in shares})
    lines = [f"| | {' | '.join(columns)} |", "| --- |" + " --: |" * len(columns)]
    for entry in kinds:
        cells = (f"{c[entry]:.2f}" if entry in c else "-" for c in columns.values())
        lines.append(f"| {entry} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="+", metavar="cfg:size")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="fast")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--levels", nargs="+", default=[""], help="default: the best")
    parser.add_argument("--layers", action="store_true", help="also the time of each layer")
    args = parser.parse_args()
    print(header(args.threads))
    columns = {}
    for item in args.networks:
        name, size = item.split(":")
        for level in args.levels:
            columns[f"{name} {size} {level}".strip()] = bench(name, int(size), level, args)
    if len(columns) > 1:
        print(table(columns))


if __name__ == "__main__":
    main()

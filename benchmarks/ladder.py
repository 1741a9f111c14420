"""The ladder of CPU kernels: one 3x3 convolution, each rung with one idea more.

    python benchmarks/ladder.py [--channels 128 --filters 128 --size 52 --write]

The first rungs are small programs in benchmarks/ladder/, compiled here for this processor; the last
ones are the package's own kernels. Each result is compared with a sum in float64 before its time
is taken. One thread; the median of the rounds; GFLOP/s count the multiplications and additions of
the equation, so that Winograd's rung, which does fewer, may pass the processor's peak.
--write puts the figures into docs/kernels/README.md; --counters puts what the CUDA rungs ask of a
GPU there, which the emulator has counted (tests/cuda/counters.json).
"""

import argparse
import ctypes
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from timing import header, race  # noqa: E402

from yolo import cfg, ops  # noqa: E402
from yolo.network import Network  # noqa: E402
from yolo.plan import Plan  # noqa: E402

PROGRAMS = ("naive", "im2col", "blocked")
LIMIT = 1e-5  # relative distance from the sum in float64; Winograd's F(4x4,3x3) stays within it too
CFG = """
[net]
width={size}
height={size}
channels={channels}
[convolutional]
filters={filters}
size=3
pad=1
activation=linear
"""


def compiled(name, folder):
    """The function `convolve` of benchmarks/ladder/NAME.cpp."""
    library = Path(folder) / f"{name}.so"
    flags = ["-O3", "-march=native", "-mprefer-vector-width=512", "-shared", "-fPIC", "-std=c++17"]
    source = ROOT / "benchmarks" / "ladder" / f"{name}.cpp"
    subprocess.run(["g++", *flags, "-ffast-math", source, "-o", library], check=True)
    return ctypes.CDLL(str(library)).convolve


def rungs(x, weight, folder):
    """{name: function that gives y (1, k, h, w)}"""
    (_, c, h, w), k = x.shape, weight.shape[0]
    result = {}

    def calling(function):
        y = torch.empty(1, k, h, w)
        pointers = [ctypes.c_void_p(t.data_ptr()) for t in (x, weight, y)]
        return lambda: (function(*pointers, c, h, w, k), y)[1]

    for name in PROGRAMS:
        result[name] = calling(compiled(name, folder))

    def by_blas():
        with ops.precision("exact"):
            return ops.conv2d(x, weight, padding=1)

    result["blas"] = by_blas
    net = Network(cfg.parse(CFG.format(size=h, channels=c, filters=k))).eval()
    with torch.no_grad():
        net.layers[0].weight.copy_(weight)
        net.layers[0].bias.zero_()
    for name, precision in (("packed", "exact"), ("winograd", "fast")):
        plan = Plan(net, threads=1, precision=precision)
        result[name] = lambda plan=plan: plan(x)[0]
    return result


def measure(args):
    """{name: (ms, GFLOP/s, error)}"""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, args.channels, args.size, args.size, generator=generator)
    weight = torch.randn(args.filters, args.channels, 3, 3, generator=generator)
    weight /= (9 * args.channels) ** 0.5
    wanted = F.conv2d(x.double(), weight.double(), padding=1)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        functions = rungs(x, weight, folder)
        errors = {}
        for name, function in functions.items():
            errors[name] = float((function().double() - wanted).norm() / wanted.norm())
            if not errors[name] <= LIMIT:
                sys.exit(f"{name}: differs from the sum in float64 by {errors[name]}")
        rounds = race(functions, args.rounds)
    flops = 2 * 9 * args.channels * args.filters * args.size**2
    medians = {name: statistics.median(times) for name, times in rounds.items()}
    return {n: (1e3 * t, flops / t / 1e9, errors[n]) for n, t in medians.items()}


def table(results, args):
    """Markdown: one row a rung, with the factor over the rung before."""
    shape = f"{args.channels} channels, {args.filters} filters, {args.size} x {args.size}"
    lines = [
        f"3x3 convolution, {shape}, one thread, `python benchmarks/ladder.py`:",
        "",
        "| rung | ms | GFLOP/s | times the naive one | relative error |",
        "|---|---|---|---|---|",
    ]
    first = results["naive"][0]
    for name, (ms, speed, error) in results.items():
        lines.append(f"| {name} | {ms:.3g} | {speed:.3g} | {first / ms:.1f} | {error:.0e} |")
    return "\n".join(lines)


# rung -> what counters.json calls it
COUNTED = {
    "naive": "3x3 64->64 float32 naive forward",
    "tiled": "3x3 64->64 float32 im2col forward",
    "tensor cores, TF32": "3x3 64->64 float32 forward",
    "tensor cores, bf16": "3x3 64->64 bfloat16 forward",
}
PRODUCTS = 9 * 64 * 64 * 8 * 16


def counters():
    """Markdown: what each CUDA rung reads and writes, one row a rung."""
    counted = json.loads((ROOT / "tests" / "cuda" / "counters.json").read_text())
    lines = [
        "| rung | bytes to and from memory | products a byte | requests of a warp | "
        "wavefronts of shared memory | `mma` |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for rung, name in COUNTED.items():
        c = counted[name]
        cells = c["global_bytes"], PRODUCTS / c["global_bytes"], c["global_requests"]
        tiles = (f"{c[key]:,}" if c["mma"] else "-" for key in ("shared_wavefronts", "mma"))
        lines.append("| {} | {:,} | {:.3g} | {:,} | {} | {} |".format(rung, *cells, *tiles))
    return "\n".join(lines)


def write(text, mark="ladder"):
    """Puts a table between its two marks of docs/kernels/README.md."""
    page = ROOT / "docs" / "kernels" / "README.md"
    marks = rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)"
    new = re.sub(marks, lambda m: f"{m[1]}{text}\n{m[2]}", page.read_text(), flags=re.S)
    page.write_text(new)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--filters", type=int, default=128)
    parser.add_argument("--size", type=int, default=52)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true", help="into docs/kernels/README.md")
    parser.add_argument("--counters", action="store_true", help="those of the CUDA rungs, no times")
    args = parser.parse_args()
    if args.counters:
        write(counters(), "counters")
        return print(counters())
    torch.set_num_threads(1)
    text = table(measure(args), args) + f"\n\n{header(1).lstrip('# ')}"
    print(text)
    if args.write:
        write(text)


if __name__ == "__main__":
    main()

"""Our convolutions beside PyTorch's (oneDNN on a CPU), layer by layer and pass by pass.

    python benchmarks/bench_conv.py --cfg cfg/yolov4-tiny.cfg --batch 8 --passes forward grad_x
    python benchmarks/bench_conv.py --device cuda --cfg cfg/yolov3.cfg --batch 16 --precision bf16

Shapes are the distinct convolutions of the cfg. Results are compared before anything is timed: a
difference above the limit, or a NaN, ends the run. Times are medians over ABBA rounds; the ratio is
PyTorch's time by ours (above 1: ours is quicker), and the last line its geometric mean, each layer
counting as often as the network has it. Weights are handed over as they are: nothing is packed or
transformed ahead of the timed call on either side.
"""

import argparse
import math
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from shapes import PASSES, layer_shapes  # noqa: E402
from timing import CLOCKS, geometric_mean, header, paired  # noqa: E402

from yolo.ops import conv2d  # noqa: E402
from yolo.ops.native import library  # noqa: E402
from yolo.ops.precision import precision  # noqa: E402

CUDA = ("bf16", "fp16", "tf32", "fp32")
# Relative distance between the two float32 results, in the sense of least squares.
LIMITS = {"exact": 1e-5, "fast": 1e-4}


def contestants(a, wanted):
    """(ours, PyTorch's) of one pass as functions without arguments, on the same data."""
    depth = a.c // a.groups * a.r * a.s
    x, grad_y = torch.randn(a.n, a.c, a.h, a.w), torch.randn(a.n, a.k, a.p, a.q)
    weight = torch.randn(a.k, a.c // a.groups, a.r, a.s) / math.sqrt(depth)
    options = a.stride, a.padding, a.dilation, a.groups
    back = torch.ops.aten.convolution_backward
    native = torch.ops.yolo

    def peer(*mask):
        return back(grad_y, x, weight, None, *options[:3], False, (0, 0), a.groups, mask)

    return {
        "forward": (
            lambda: conv2d(x, weight, None, *options),
            lambda: F.conv2d(x, weight, None, *options),
        ),
        "grad_x": (
            lambda: native.conv2d_grad_x(grad_y, weight, (a.h, a.w), *options),
            lambda: peer(True, False, False)[0],
        ),
        "grad_weight": (
            lambda: native.conv2d_grad_weight(grad_y, x, (a.r, a.s), *options),
            lambda: peer(False, True, False)[1],
        ),
    }[wanted]


def difference(ours, peer):
    """Relative distance of two results; NaN where either holds one."""
    ours, peer = ours().double(), peer().double()
    return float((ours - peer).norm() / peer.norm())


def row(index, a, name, pair, error):
    flops = 2 * a.n * a.k * a.p * a.q * (a.c // a.groups) * a.r * a.s
    x, weight = f"{a.n}x{a.c}x{a.h}x{a.w}", f"{a.k}x{a.c // a.groups}x{a.r}x{a.s}"
    return (
        f"{index:5d}  {x:17s} {weight:15s} {a.stride[0]:6d}  {name:11s} {pair.ours * 1e3:9.3f}"
        f" {flops / pair.ours / 1e9:8.1f} {pair.peer * 1e3:9.3f}"
        f" {pair.ratio:6.2f} ±{pair.spread:4.2f}  {error:.1e}"
    )


def measure(shapes, passes, repeats, limit, clock):
    """Prints a row for each shape and pass; returns [(name, occurrences, ratio, ours, peer)]."""
    print("shape  x                 weight          stride  pass         ours ms  GFLOP/s  torch ms"
          "  ratio         error")  # fmt: skip
    results = []
    for index, (shape, count) in enumerate(shapes.items()):
        for name in passes:
            ours, peer = contestants(shape, name)
            error = difference(ours, peer)
            if not error <= limit:
                sys.exit(f"shape {index} {shape}, {name}: results differ by {error} > {limit}")
            pair = paired(ours, peer, repeats, clock)
            print(row(index, shape, name, pair, error), flush=True)
            results.append((name, count, pair))
    return results


def conclude(results, passes):
    for name in [*passes, None]:
        chosen = [(n, pair) for pass_, n, pair in results if name in (pass_, None)]
        ratio = geometric_mean([pair.ratio for n, pair in chosen for _ in range(n)])
        ours, peer = (sum(n * getattr(p, side) for n, p in chosen) for side in ("ours", "peer"))
        print(f"{name or 'all':12s} geometric mean of ratios {ratio:5.2f}; all layers "
              f"{ours * 1e3:8.1f} ms, PyTorch {peer * 1e3:8.1f} ms")  # fmt: skip
        if len(passes) == 1:
            return


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cfg", default=str(ROOT / "cfg" / "yolov4-tiny.cfg"))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--height", type=int, help="default: the cfg's")
    parser.add_argument("--width", type=int, help="default: the cfg's")
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=list(PASSES))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5, help="ABBA rounds")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=(*LIMITS, *CUDA), help="default: exact, or bf16")
    parser.add_argument("--pairs", type=int, default=50, help="CUDA: ABBA pairs of samples")
    parser.add_argument(
        "--warm",
        dest="cold",
        action="store_false",
        help="CUDA: one set of buffers, whose inputs may lie in the cache",
    )
    parser.add_argument("--json", type=Path, help="CUDA: write the rows there")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    settings = parser.parse_args(arguments)
    words = CUDA if settings.device == "cuda" else tuple(LIMITS)
    settings.precision = settings.precision or words[0]
    if settings.precision not in words:
        parser.error(f"--precision {settings.precision}: {settings.device} has {', '.join(words)}")
    if settings.clock == "processor" and settings.threads != 1:
        parser.error("--clock processor sees the calling thread only: add --threads 1")
    return settings


def main(arguments=None):
    settings = parse(arguments)
    if settings.device == "cuda":
        from conv_cuda import run

        return run(settings)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    print(
        header(settings.threads)
        + f", {library().isa_name()}, {settings.precision}, {settings.clock} clock"
    )
    print(f"# {settings.cfg}, batch {settings.batch}")
    shapes = layer_shapes(settings.cfg, settings.batch, settings.height, settings.width)
    fast = precision("fast") if settings.precision == "fast" else nullcontext()
    with fast, torch.no_grad():
        limit = LIMITS[settings.precision]
        results = measure(shapes, settings.passes, settings.repeats, limit, settings.clock)
    conclude(results, settings.passes)


if __name__ == "__main__":
    main()

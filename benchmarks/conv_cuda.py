"""`bench_conv.py --device cuda`: our CUDA convolutions beside cuDNN's, layer by layer.

Both sides get the same random normal data in channels_last; weights are scaled so that outputs
stay near 1. Results are compared before anything is timed: a pass that differs, or fails, is named
and left out, and the program fails in the end. cuDNN chooses by measuring
(benchmark = True) and computes in the same precision.
"""

import math

import torch
import torch.nn.functional as F
from gpu_timing import (
    Tries,
    Wrong,
    at_its_best,
    compare,
    machine,
    relative,
    require_gpu,
    save,
    sets_for,
)
from shapes import ceiling_of, floor, flops, layer_shapes, traffic
from timing import geometric_mean

from yolo import ops

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32,
         "fp32": torch.float32}  # fmt: skip
LIMITS = {"bf16": 6e-3, "fp16": 1e-3, "tf32": 1e-3, "fp32": 1e-5}  # both round: twice this


def buffers(a, dtype):
    """x, weight, grad_y in channels_last."""

    def normal(*shape):
        return torch.randn(shape, device="cuda").to(dtype, memory_format=torch.channels_last)

    depth = a.c // a.groups * a.r * a.s
    weight = normal(a.k, a.c // a.groups, a.r, a.s) / math.sqrt(depth)
    return normal(a.n, a.c, a.h, a.w), weight, normal(a.n, a.k, a.p, a.q)


def ours(a, name, x, weight, grad_y):
    native, place = torch.ops.yolo, (a.stride, a.padding, a.dilation, a.groups)
    return {
        "forward": lambda: ops.conv2d(x, weight, None, *place),
        "grad_x": lambda: native.conv2d_grad_x(grad_y, weight, (a.h, a.w), *place),
        "grad_weight": lambda: native.conv2d_grad_weight(grad_y, x, (a.r, a.s), *place),
    }[name]


def cudnn(a, name, x, weight, grad_y):
    place = a.stride, a.padding, a.dilation
    if name == "forward":
        return lambda: F.conv2d(x, weight, None, *place, a.groups)
    mask = [name == "grad_x", name == "grad_weight", False]
    back, which = torch.ops.aten.convolution_backward, mask.index(True)
    rest = [*map(list, place), False, [0, 0], a.groups, mask]
    return lambda: back(grad_y, x, weight, None, *rest)[which]


def measure(a, name, precision, pairs, cold):
    """One row: seconds, ratio and its interval, error, share of the floor."""
    count = sets_for(traffic(a, name, precision), cold)
    sets = [buffers(a, TYPES[precision]) for _ in range(count)]
    mine, theirs = ([side(a, name, *given) for given in sets] for side in (ours, cudnn))
    error = relative([mine[0]()], [theirs[0]()])
    if not error <= 2 * LIMITS[precision]:
        raise Wrong(f"the results differ by {error:.1e}")
    return compare(mine, theirs, pairs)._asdict() | {"error": error}


def run(settings):
    require_gpu("bench_conv.py --device cuda")
    precision = settings.precision
    at_its_best(precision)
    info = machine()
    ceiling = ceiling_of(info["device"])
    found = layer_shapes(settings.cfg, settings.batch, settings.height, settings.width)
    print("| c->k size/stride @h | pass | times | ours us | cuDNN us | ratio | TFLOP/s | floor |")
    print("| --- | --- | --: | --: | --: | --: | --: | --: |")
    content = {"kind": "conv", "machine": info, "network": settings.cfg, "rows": []}
    content |= {"batch": settings.batch, "precision": precision}
    rows, tries = content["rows"], Tries()
    with torch.no_grad(), ops.precision(precision):
        for a, count in found.items():
            for name in settings.passes:
                with tries.of(f"{name} of {a}"):
                    row = measure(a, name, precision, settings.pairs, settings.cold)
                    row |= {"shape": a._asdict(), "pass": name, "count": count}
                    row["tflops"] = flops(a) / row["ours"] / 1e12
                    least = floor(a, name, precision, ceiling) if ceiling else 0
                    row["of_floor"] = least / row["ours"]
                    rows.append(row)
                    print(line(row), flush=True)
            save(settings.json, content)
    for name in dict.fromkeys(row["pass"] for row in rows):
        print(f"geometric mean, {name}: {mean_ratio(rows, name):.2f}")
    tries.finish()


def line(row):
    a = row["shape"]
    return (
        f"| {a['c']}->{a['k']} {a['r']}/{a['stride'][0]} @{a['h']} | {row['pass']} "
        f"| {row['count']} | {row['ours'] * 1e6:.1f} | {row['peer'] * 1e6:.1f} "
        f"| {row['ratio']:.2f} ({row['low']:.2f}-{row['high']:.2f}) | {row['tflops']:.0f} "
        f"| {row['of_floor']:.2f} |"
    )


def mean_ratio(rows, name):
    """Geometric mean of a pass, each layer as often as the network has it."""
    return geometric_mean(
        [r["ratio"] for r in rows if r["pass"] == name for _ in range(r["count"])]
    )

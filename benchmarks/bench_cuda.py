"""Our CUDA convolutions beside cuDNN's, layer by layer, on the GPU of this machine.

    python benchmarks/bench_cuda.py --cfg cfg/yolov3.cfg --size 416 --batch 16 --precision bf16

Shapes come from the cfg. Both sides get the same random normal data in channels_last, and their
results are compared first. Then pairs of samples in turns (ours, cuDNN, cuDNN, ours), each long
enough to time; the ratio is cuDNN's time by ours, median over the pairs (above 1: ours is quicker).
"""

# ruff: noqa: E402
import argparse
import json
import math
import statistics
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from yolo import cfg
from yolo.layers.convolutional import Convolutional
from yolo.network import Network
from yolo.ops.cuda.operators import kernels
from yolo.ops.shapes import conv_shape

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32}
LIMITS = {"bf16": 6e-3, "fp16": 1e-3, "tf32": 1e-3}
SAMPLE = 3e-4  # seconds, at least, in one sample
PASSES = ("forward", "grad_x", "grad_weight")


def layer_shapes(path, size, batch):
    """The distinct convolutions of a network with the number of times each occurs."""
    sections = cfg.read(str(path))
    with torch.device("meta"):
        net = Network(sections)
    net.resize(size, size)
    found = {}
    for layer in net.layers:
        if isinstance(layer, Convolutional):
            x = torch.empty(batch, *layer.in_shapes[0], device="meta")
            place = layer.stride, layer.pad_cells, layer.dilation, layer.groups
            shape = conv_shape(x, layer.weight, None, *place)
            found[shape] = found.get(shape, 0) + 1
    return found


def cases(a, dtype):
    """pass -> (ours, cuDNN's) as functions without arguments."""
    last = {"memory_format": torch.channels_last}
    options = a.stride, a.padding, a.dilation, a.groups

    def normal(*shape):
        return torch.randn(*shape, device="cuda").to(dtype).to(**last)

    depth = a.c // a.groups * a.r * a.s
    x, grad_y = normal(a.n, a.c, a.h, a.w), normal(a.n, a.k, a.p, a.q)
    weight = normal(a.k, a.c // a.groups, a.r, a.s) / math.sqrt(depth)

    def peer(mask):
        back = torch.ops.aten.convolution_backward
        flip = [False, [0, 0], a.groups, mask]
        return lambda: back(grad_y, x, weight, None, *map(list, options[:3]), *flip)

    ours = kernels()
    return x, weight, grad_y, {
        "forward": (
            lambda: ours.implicit_forward(a, x, weight),
            lambda: F.conv2d(x, weight, None, *options),
        ),
        "grad_x": (lambda: ours.implicit_grad_x(a, grad_y, weight), peer([True, False, False])),
        "grad_weight": (
            lambda: ours.implicit_grad_weight(a, x, grad_y),
            peer([False, True, False]),
        ),
    }  # fmt: skip


def result(name, value):
    """The tensor that a pass computed."""
    return value if torch.is_tensor(value) else value[PASSES.index(name) - 1]


def timed(function, repeats):
    """Seconds of one call, from `repeats` of them."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(repeats):
        function()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / repeats


def compare(ours, peer, pairs):
    """(our seconds, the peer's, median ratio of the pairs)"""
    for function in (ours, peer) * 3:
        function()
    repeats = max(1, round(SAMPLE / min(timed(ours, 3), timed(peer, 3))))
    mine, theirs = [], []
    for i in range(pairs):
        for function, times in ((ours, mine), (peer, theirs))[:: -1 if i % 2 else 1]:
            times.append(timed(function, repeats))
    ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
    return statistics.median(mine), statistics.median(theirs), statistics.median(ratios)


def agree(a, name, ours, peer, limit):
    """Relative L2 of our result against cuDNN's; both round, so the limit is twice one's."""
    mine, theirs = result(name, ours()).double(), result(name, peer()).double()
    error = ((mine - theirs).norm() / theirs.norm()).item()
    if not error <= 2 * limit:
        raise SystemExit(f"{name} of {a}: results differ by {error:.1e}, {2 * limit:.0e} allowed")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cfg", default=ROOT / "cfg" / "yolov3.cfg", type=Path)
    parser.add_argument("--size", default=416, type=int)
    parser.add_argument("--batch", default=16, type=int)
    parser.add_argument("--precision", default="bf16", choices=TYPES)
    parser.add_argument("--pairs", default=20, type=int)
    parser.add_argument("--json", type=Path, help="write the rows here too")
    args = parser.parse_args()
    shapes = layer_shapes(args.cfg, args.size, args.batch)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = args.precision == "tf32"
    device = torch.cuda.get_device_name()
    print(f"{device}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    print(f"{args.cfg.name} {args.size}, batch {args.batch}, {args.precision}\n")
    print("| c->k size/stride @h | pass | times | ours us | cuDNN us | ratio | TFLOP/s |")
    print("| --- | --- | --: | --: | --: | --: | --: |")
    rows = []
    for a, count in shapes.items():
        *_, functions = cases(a, TYPES[args.precision])
        flops = 2 * a.n * a.k * a.p * a.q * a.c // a.groups * a.r * a.s
        for name, (ours, peer) in functions.items():
            agree(a, name, ours, peer, LIMITS[args.precision])
            mine, theirs, ratio = compare(ours, peer, args.pairs)
            rows.append({"shape": a._asdict(), "pass": name, "ours": mine, "cudnn": theirs,
                         "ratio": ratio, "count": count})  # fmt: skip
            print(f"| {a.c}->{a.k} {a.r}/{a.stride[0]} @{a.h} | {name} | {count} | "
                  f"{mine * 1e6:.1f} | {theirs * 1e6:.1f} | {ratio:.2f} | "
                  f"{flops / mine / 1e12:.0f} |", flush=True)  # fmt: skip
    for name in PASSES:
        logs = [math.log(row["ratio"]) for row in rows if row["pass"] == name]
        print(f"geometric mean, {name}: {math.exp(statistics.mean(logs)):.2f}")
    if args.json:
        args.json.write_text(json.dumps({"device": device, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()

"""The packed convolutions of one training step, each by itself: forward and both gradients.

    python benchmarks/packed_conv.py yolov4-tiny:416:8 --threads 1

Ideal: the products of the kernel taken, at the measured peak; a share of 0.9 is about what a direct
kernel reaches. Times are the least of all rounds. Results are compared in tests/ops.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from timing import header

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from yolo import _C, cfg
from yolo.network import Network
from yolo.ops import packed_memory
from yolo.ops.native import native_conv_shape
from yolo.plan.choose import TILES

CFG = Path(__file__).resolve().parents[1] / "cfg"


def shapes(name, size, batch):
    """{shape: how many}, of the layers that have packed kernels, but for the first."""
    net = Network(cfg.read(CFG / f"{name}.cfg")).resize(size, size)
    layers = [layer for layer in net.layers if type(layer).__name__ == "Convolutional"]
    found = {}
    for layer in layers:
        if layer.packs and layer.sources[0] != -1:
            shape = layer.conv_shape(batch)
            found[shape] = found.get(shape, 0) + 1
    return found


def multiplies(shape, algorithm):
    """Multiplications of one pass."""
    weights = shape.k * shape.c // shape.groups
    if algorithm in ("direct", "depthwise"):
        return shape.n * shape.p * shape.q * weights * shape.r * shape.s
    _, m, products, _ = TILES[algorithm]
    return shape.n * -(-shape.p // m) * -(-shape.q // m) * products * weights


def passes(conv, shape):
    """(name, function) of each, on packed tensors of ones."""
    x, dx = (packed_memory.empty(shape.n, shape.c, shape.h, shape.w).fill_(1) for _ in range(2))
    y, dy = (packed_memory.empty(shape.n, shape.k, shape.p, shape.q).fill_(1) for _ in range(2))
    weight = torch.randn(shape.k, shape.c // shape.groups, shape.r, shape.s)
    grad, space = torch.empty_like(weight), packed_memory.workspace(conv.workspace)
    held = {"x": x, "dx": dx, "y": y, "dy": dy, "w": weight, "dw": grad, "space": space}
    a = {name: tensor.data_ptr() for name, tensor in held.items()}

    def gradients(dw, dx):
        conv.gradients(a["dy"], a["x"], 0, a["w"], dw, dx, a["space"])
        return held

    return (
        ("forward", lambda: conv.forward(a["x"], 0, a["w"], a["y"], a["space"])),
        ("by x", lambda: gradients(0, a["dx"])),
        ("by the weight", lambda: gradients(a["dw"], 0)),
    )


def least(run, repeats):
    """Seconds of the fastest round."""
    run()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", metavar="cfg:size:batch")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=12)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    name, size, batch = args.network.split(":")
    peak = args.threads * _C.packed.peak("", "fp32")
    print(header(args.threads))
    for shape, times in shapes(name, int(size), int(batch)).items():
        conv = _C.packed.ConvTraining(native_conv_shape(shape), False, True, args.threads)
        ideal = 2 * multiplies(shape, conv.algorithm) / peak
        line = f"{times} x {shape.c:4d} -> {shape.k:4d} @{shape.w:3d} {shape.r}x{shape.s} / "
        line += f"{shape.stride[0]} {conv.algorithm:9s} ideal {1e3 * ideal:7.2f} ms"
        for what, run in passes(conv, shape):
            seconds = least(run, args.repeats)
            line += f"  {what} {1e3 * seconds:7.2f} ({ideal / seconds:.2f})"
        print(line, flush=True)


if __name__ == "__main__":
    main()

"""Relative L2 error of the packed CPU kernels against float64, beside the limits of the design.

    python benchmarks/accuracy.py

Convolutions of fresh normal data through a plan; in bf16 the inputs and weights are rounded first,
so that both sides start from the same numbers. Exit code 1 if a limit is passed.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from yolo import _C
from yolo.cfg import parse
from yolo.network import Network
from yolo.plan import Plan
from yolo.plan.choose import PRECISIONS, Precision, precision_of

LIMITS = {
    ("fp32", "direct"): 5e-6,
    ("fp32", "depthwise"): 5e-6,
    ("fp32", "winograd2"): 1e-5,
    ("fp32", "winograd4"): 3e-5,
    ("fp32", "phases"): 1e-5,
    ("bf16", "direct"): 6e-3,
    ("bf16", "depthwise"): 6e-3,
    ("bf16", "winograd2"): 6e-3,
}
WORDS = {"fp32": "fast", "bf16": "bf16"}
# channels, height and width, filters, size, stride, groups
SHAPES = {
    "direct": [(64, 52, 64, 1, 1, 1), (128, 26, 256, 3, 2, 1), (1024, 13, 256, 1, 1, 1)],
    "depthwise": [(96, 40, 96, 3, 1, 96)],
    "winograd2": [(32, 52, 64, 3, 1, 1), (256, 26, 128, 3, 1, 1), (1024, 13, 128, 3, 1, 1)],
}
SHAPES["winograd4"] = SHAPES["winograd2"]
SHAPES["phases"] = [(c, side, k, size, 2, 1) for c, side, k, size, *_ in SHAPES["winograd2"]]


@torch.no_grad()
def error(number, algorithm, level, shape):
    """Of one convolution by the kernels of one level."""
    channels, side, filters, size, stride, groups = shape
    net = Network(
        parse(
            f"[net]\nwidth={side}\nheight={side}\nchannels={channels}\n[convolutional]\n"
            f"filters={filters}\nsize={size}\nstride={stride}\npad=1\ngroups={groups}\n"
            "activation=linear\n"
        )
    ).eval()
    x, weight = torch.randn(1, channels, side, side), net.layers[0].weight
    weight.normal_()
    if number == "bf16":
        x, weight.data = x.bfloat16().float(), weight.data.bfloat16().float()
    PRECISIONS["this"] = Precision(number, (algorithm,), 1e9)
    plan = Plan(net, 1, precision="this", level=level)
    assert algorithm in [kernel for _, kernel, _ in plan.rows]
    expected = F.conv2d(x.double(), weight.double(), None, stride, size // 2, 1, groups)
    return float((plan(x)[0].double() - expected).norm() / expected.norm())


def main():
    torch.manual_seed(0)
    passed = []
    for (number, algorithm), limit in LIMITS.items():
        for level, _ in _C.packed.levels(number):
            if algorithm not in ("depthwise", *precision_of(WORDS[number], level).algorithms):
                continue  # the level does without it
            worst = max(error(number, algorithm, level, shape) for shape in SHAPES[algorithm])
            passed.append(worst <= limit)  # False for NaN
            print(f"{number} {algorithm:10s} {level:14s} {worst:.1e}  limit {limit:.0e}")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())

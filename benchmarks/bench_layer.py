"""Single direct convolutions of an inference plan: their share of the peak.

    python benchmarks/bench_layer.py 64:64:304:mish 128:64:304:leaky --levels avx512 avx2

Each layer is channels:filters:side:activation[:size[:stride]], a network of its own whose maps are
larger than most caches or not, as the side has it. Processor times of one thread, least of all
rounds; the peak is measured in the same run. Results are compared in tests/ops.
"""

import argparse
import sys
from pathlib import Path

import torch
from timing import header

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from yolo import _C
from yolo.cfg import parse
from yolo.network import Network
from yolo.plan import Plan

LAYERS = [
    *("64:64:304:mish", "128:64:304:mish", "64:64:152:mish", "128:128:76:mish", "256:256:38:mish"),
    *("64:64:304:leaky", "128:64:304:leaky", "64:32:208:leaky", "128:64:104:leaky"),
    *("256:128:52:leaky", "512:256:26:leaky", "1024:512:13:leaky"),
]


def network(channels, filters, side, activation, size=1, stride=1):
    return Network(
        parse(
            f"[net]\nwidth={side}\nheight={side}\nchannels={channels}\n[convolutional]\n"
            f"filters={filters}\nsize={size}\nstride={stride}\npad=1\nactivation={activation}\n"
        )
    ).eval()


def rate(net, level, repeats):
    """Operations a second of the layer's kernel."""
    plan = Plan(net, 1, threads=1, precision="exact", level=level)
    times = [
        ms for _, kernel, ms in plan.profile(torch.rand(plan.shape), repeats) if kernel == "direct"
    ]
    return net.layers[0].flops() / sum(times) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "layers", nargs="*", default=LAYERS, metavar="c:k:side:activation[:size[:stride]]"
    )
    parser.add_argument("--levels", nargs="+", default=[_C.packed.level()[0]])
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(header(1))
    peaks = {level: _C.packed.peak(level) for level in args.levels}
    print("| layer | " + " | ".join(args.levels) + " |\n| --- |" + " --: |" * len(args.levels))
    for layer in args.layers:
        words = layer.split(":")
        numbers = [int(word) for word in (*words[:3], *words[4:])]
        net = network(*numbers[:3], words[3], *numbers[3:])
        rates = {level: rate(net, level, args.repeats) for level in args.levels}
        shares = [
            f"{rates[level] / max(peaks[level], _C.packed.peak(level)):.2f}" for level in rates
        ]
        print(f"| {layer} | " + " | ".join(shares) + " |", flush=True)


if __name__ == "__main__":
    main()

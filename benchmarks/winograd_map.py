"""mAP of a trained network on drawn shapes, fast beside exact, and the layers that Winograd takes.

    python -m yolo train cfg/shapes.cfg --out runs/shapes
    python benchmarks/winograd_map.py runs/shapes/shapes.cfg runs/shapes/shapes_final.weights

Ends with an error where they differ by more than 0.001.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yolo
from yolo.data import ShapesDataset
from yolo.evaluate import evaluate
from yolo.plan import Plan

LIMIT = 1e-3


def main(cfg, weights):
    net = yolo.load(cfg, weights).eval()
    kernels = [kernel for _, kernel, _ in Plan(net).rows]
    taken = sum(kernel.startswith("winograd") for kernel in kernels)
    valid = ShapesDataset(
        net.layers[net.heads[-1]].classes, 200, net.input_shape[1:], split="valid"
    )
    maps = {word: evaluate(net, valid, precision=word).map for word in ("exact", "fast")}
    print(f"{taken} layers by Winograd;", *[f"{word} {value:.5f}" for word, value in maps.items()])
    if not abs(maps["fast"] - maps["exact"]) <= LIMIT:
        raise SystemExit(f"they differ by more than {LIMIT}")


if __name__ == "__main__":
    main(*sys.argv[1:])

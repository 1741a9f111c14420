"""A whole `predict` of one picture on the CPU, and in it Darknet's resize beside its twin in NumPy.

    python benchmarks/bench_predict.py [yolov4-tiny:416] [--picture 576x768] [--threads 2]

The picture is noise and the weights are random. The two resizes are compared first.
"""

import argparse
import sys
from pathlib import Path
from statistics import median

import numpy as np
import torch
from timing import header, paired, seconds

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yolo
from yolo.data import stretch
from yolo.ops import backend

CFG = Path(__file__).resolve().parents[1] / "cfg"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", nargs="?", default="yolov4-tiny:416", metavar="cfg:size")
    parser.add_argument("--picture", default="576x768", help="height x width")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    name, size = args.network.split(":")[0], int(args.network.split(":")[1])
    shape = [int(side) for side in args.picture.split("x")]
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    net = yolo.load(CFG / f"{name}.cfg").resize(size, size).eval()

    def twin():
        with backend("torch"):
            return stretch(picture, size, size)

    def kernel():
        return stretch(picture, size, size)

    np.testing.assert_allclose(kernel(), twin(), rtol=0, atol=1e-6)
    net.predict(picture)
    whole = median(seconds(lambda: net.predict(picture), 4) for _ in range(args.repeats))
    resize = paired(kernel, twin, args.repeats)
    print(header(args.threads))
    print(f"{name} {size}, a picture of {args.picture}")
    print(f"predict         {1e3 * whole:6.2f} ms")
    print(
        f"resize          {1e3 * resize.ours:6.2f} ms, its twin {1e3 * resize.peer:.2f} ms, "
        f"x {resize.ratio:.2f} +-{resize.spread:.2f}"
    )


if __name__ == "__main__":
    main()

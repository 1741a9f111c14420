"""Detection of many images: one process against Ray's workers, one thread each.

    python benchmarks/bench_engines.py --images 256 --workers 1 2

Drawn shapes as JPEG, yolov4-tiny with random values. Images a second are counted from the first
part that begins to the last that ends, so that starting Ray and building networks, which are said
apart, do not count; one worker more or less is what changes.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from timing import header

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_data import drawn

from yolo import cfg
from yolo.engines import ray as engine
from yolo.engines.parts import cut
from yolo.engines.work import Job, here
from yolo.network import Network
from yolo.weights import darknet

CFG = Path(__file__).resolve().parents[1] / "cfg"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cfg", default=str(CFG / "yolov4-tiny.cfg"))
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--part", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(header(1))
    print(f"# {Path(args.cfg).stem}, {args.images} images in parts of {args.part}")
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "random.weights")
        darknet.save(Network(cfg.read(args.cfg), seed=1), weights)
        drawn(Path(folder), args.images)
        parts = [part.dumps() for part in cut([str(Path(folder) / "list.txt")], args.part)]
        alone = measure("one process", here, args, weights, folder, parts)
        for workers in args.workers:
            name = f"Ray, {workers} workers"
            rate = measure(name, engine.spread, args, weights, folder, parts, workers)
            print(f"  {rate / alone:.2f} times one process")


def measure(name, run, args, weights, folder, parts, *options):
    """Images a second between the first part's begin and the last one's end."""
    out = Path(folder) / name
    out.mkdir()
    job = Job(args.cfg, weights, str(out), batch=args.batch)
    started = time.perf_counter()
    done = list(run(job, parts, *options))
    whole = time.perf_counter() - started
    seconds = max(part.ended for part in done) - min(part.started for part in done)
    images = sum(part.images for part in done)
    print(
        f"{name}: {images / seconds:.1f} images/s in {seconds:.1f} s; starting and stopping "
        f"took {whole - seconds:.1f} s"
    )
    return images / seconds


if __name__ == "__main__":
    main()

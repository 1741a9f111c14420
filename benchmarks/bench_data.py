"""The loader: images a second, what each stage costs, and how long training steps wait for it.

    python benchmarks/bench_data.py                                    drawn shapes, written as JPEG
    python benchmarks/bench_data.py --data BCCD/bccd.data --steps 6
    python benchmarks/bench_data.py --scale      lists of up to 10^7 images, shards, kept images

Augmentation is that of yolov4-tiny with a mosaic, or, with --heavy, also blur and noise. Stages are
timed in this process, one after another; images a second are those of worker processes; waiting is
measured in real training steps (forward, backward, update) of --cfg. The same steps are then timed
with a batch that is there already: the difference is what a worker costs by taking a core.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import median

import cv2
import torch
from timing import header

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import data_scale

from yolo import cfg
from yolo.data import Augment, Dataset, Loader, ShapesDataset, image
from yolo.data import loader as loading
from yolo.data.augment import view
from yolo.network import Network
from yolo.optimizer import DarknetSGD

CFG = Path(__file__).resolve().parents[1] / "cfg"
# What yolov4-tiny.cfg says, and a mosaic.
AUGMENT = dict(jitter=0.3, flip=True, hue=0.1, saturation=1.5, exposure=1.5, mosaic=True)
HEAVY = dict(blur=9, gaussian_noise=20)
STAGES = (
    (image, "read", "read and decode"),
    (view, "show", "crop and resize"),
    (view, "recolour", "colours"),
    (view, "blurred", "blur"),
    (view, "noisy", "noise"),
    (loading, "_together", "batch together"),
    (loading, "scaled", "bytes to floats"),
)


def main():
    args = arguments().parse_args()
    torch.set_num_threads(args.threads)
    augment = Augment(**AUGMENT, **(HEAVY if args.heavy else {}))
    size = args.batch, args.size, args.size
    print(header(args.threads))
    print(f"# {size[0]} x 3 x {size[1]} x {size[2]}, {augment}")
    with tempfile.TemporaryDirectory() as folder:
        if args.scale:
            data_scale.show(folder, augment)
            return
        data = args.data or drawn(Path(folder))
        dataset = Dataset.from_data(data)
        print(f"# {args.data or 'drawn shapes, 640 x 480, as JPEG'}: {len(dataset)} images")
        stages(dataset, size, augment)
        for workers in range(1, args.workers + 1):
            rate(dataset, size, augment, workers)
        if args.steps:
            steps(dataset, size, augment, args)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", metavar="F", help=".data file")
    parser.add_argument("--cfg", metavar="F", default=str(CFG / "yolov4-tiny.cfg"))
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1, help="up to this many are tried")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=5, help="training steps; 0: none")
    parser.add_argument("--scale", action="store_true", help="only what grows with the data")
    parser.add_argument("--heavy", action="store_true", help="blur and noise too")
    return parser


def drawn(folder, count=64):
    """A .data file with drawn shapes as JPEG files; returns its path."""
    shapes = ShapesDataset(10, count, (480, 640))
    for n in range(count):
        sample = shapes[n]
        image.write(folder / f"{n}.jpg", sample.image)
        rows = (" ".join(f"{value:g}" for value in (int(c), *box)) for c, *box in sample.boxes)
        (folder / f"{n}.txt").write_text("\n".join(rows) + "\n")
    (folder / "list.txt").write_text("".join(f"{n}.jpg\n" for n in range(count)))
    (folder / "shapes.data").write_text("classes = 10\ntrain = list.txt\n")
    return folder / "shapes.data"


def stages(dataset, size, augment, batches=4):
    """Milliseconds of each stage for one image of a batch."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # as in a worker
    with stopwatch() as spent, Loader(dataset, *size, augment=augment, workers=0) as loader:
        next(loader)
        spent.clear()
        started = time.perf_counter()
        for _ in range(batches):
            next(loader)
        total = time.perf_counter() - started
    cv2.setNumThreads(threads)
    images = batches * size[0]
    for name, seconds in (*spent.items(), ("the rest", total - sum(spent.values()))):
        print(f"{name:18s} {1e3 * seconds / images:7.2f} ms an image")
    print(f"{'in all':18s} {1e3 * total / images:7.2f} ms an image, {images / total:.1f} images/s")


@contextmanager
def stopwatch():
    """{stage: seconds} of the stages that run inside."""
    spent, kept = defaultdict(float), []

    def timed(function, name):
        def run(*args, **options):
            started = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                spent[name] += time.perf_counter() - started

        return run

    for module, attribute, name in STAGES:
        kept.append((module, attribute, getattr(module, attribute)))
        setattr(module, attribute, timed(kept[-1][2], name))
    try:
        yield spent
    finally:
        for module, attribute, function in kept:
            setattr(module, attribute, function)


def rate(dataset, size, augment, workers, batches=12):
    """Images a second that worker processes make when nobody else works."""
    with Loader(dataset, *size, augment=augment, workers=workers) as loader:
        next(loader)
        for _ in range(loading.AHEAD * workers):  # those that were made meanwhile
            next(loader)
        started = time.perf_counter()
        for _ in range(batches):
            next(loader)
        seconds = time.perf_counter() - started
    print(f"{workers} workers: {batches * size[0] / seconds:.1f} images/s")


def steps(dataset, size, augment, args):
    """Training steps from a loader with one worker, and from one batch again and again."""
    sections = cfg.read(args.cfg)
    for key, value in (("width", args.size), ("height", args.size), ("batch", args.batch)):
        sections[0].set(key, value)
    net = Network(sections).train()
    optimizer = DarknetSGD(net)
    with Loader(dataset, *size, augment=augment, workers=1) as loader:
        first = next(loader)
        step(net, optimizer, first)
        waited, times = loader.waited, []
        for batch in islice(loader, args.steps):
            started = time.perf_counter()
            step(net, optimizer, batch)
            times.append(time.perf_counter() - started)
        waited = loader.waited - waited
    alone = []
    for _ in range(args.steps):
        started = time.perf_counter()
        step(net, optimizer, first)
        alone.append(time.perf_counter() - started)
    share = waited / (waited + sum(times))
    name = Path(args.cfg).stem
    print(
        f"{name}: {args.steps} steps of {median(times):.2f} s, waiting {1e3 * waited:.0f} ms in "
        f"all: {100 * share:.2f} % of the time; {median(alone):.2f} s a step without a loader"
    )


def step(net, optimizer, batch):
    """Forward, backward, update; the rate is too small to change anything."""
    net.loss(batch.images, batch.truth).total.backward()
    optimizer.step(1e-9, len(batch))


if __name__ == "__main__":
    main()

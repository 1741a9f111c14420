"""What an image costs in lists of 10^2 to 10^7 images, in shards, and from the cache; the part
`--scale` of bench_data.py."""

import io
import multiprocessing
import tarfile
import time
from itertools import islice
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from yolo.data import Dataset, Loader, ShapesDataset
from yolo.data.listing import Listing
from yolo.data.shards import ShardDataset

FILES = 100_000  # real ones, of some 1.5 KB
LISTS = [10**power for power in range(2, 8)]
LOADS = 2000  # images loaded of each list, by chance
SHARDS = 20


def show(folder, augment, files=FILES, lists=LISTS):
    """Writes the files into `folder` and prints all figures."""
    folder = Path(folder)
    pictures(folder, files)
    print("list         open       again      pick    read+decode   worker's own memory")
    for count in lists:
        of_list(folder, count, files)
    of_shards(folder, files)
    of_cache(folder, augment)


def pictures(folder, files):
    """Small JPEG files with label files; a thousand different contents."""
    shapes = ShapesDataset(10, 1000, (64, 64))
    kinds = [cv2.imencode(".jpg", shapes[n].image[:, :, ::-1])[1].tobytes() for n in range(1000)]
    for number in range(files):
        if number % 1000 == 0:
            (folder / f"{number // 1000:04d}").mkdir()
        stem = folder / f"{number // 1000:04d}" / f"{number:07d}"
        stem.with_suffix(".jpg").write_bytes(kinds[number % 1000])
        stem.with_suffix(".txt").write_text(f"{number % 10} .5 .5 .3 .4\n")


def of_list(folder, count, files):
    """One line: a list of `count` images, each of the files as often as it takes."""
    path = folder / f"list-{count}.txt"
    with path.open("w") as file:
        for first in range(0, count, 1000):
            numbers = (n % files for n in range(first, min(first + 1000, count)))
            file.write("".join(f"{folder}/{n // 1000:04d}/{n:07d}.jpg\n" for n in numbers))
    opening = [timed(lambda: Listing(path)) for _ in range(2)]
    dataset = Dataset.from_list(path, classes=10)
    chosen = np.random.default_rng(1).integers(count, size=LOADS).tolist()
    pick = each(lambda n: dataset.entries[n], chosen)
    each(dataset.load, chosen)  # the same files once, so that the disk has no part in it
    load = each(dataset.load, chosen)
    grown = in_a_worker(dataset, chosen) / 2**20
    print(
        f"10^{len(str(count)) - 1} {1e3 * opening[0]:10.1f} ms {1e3 * opening[1]:7.1f} ms "
        f"{1e6 * pick:6.1f} us {1e6 * load:9.0f} us {grown:14.1f} MiB"
    )


def each(function, arguments):
    """Median seconds of a call."""
    times = []
    for argument in arguments:
        started = time.perf_counter()
        function(argument)
        times.append(time.perf_counter() - started)
    return median(times)


def timed(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def in_a_worker(dataset, chosen):
    """Bytes that a forked process has for itself more, after it has loaded these images."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def work():
        dataset.load(chosen[0])
        before = private()
        for number in chosen:
            dataset.load(number)
        queue.put(private() - before)

    process = context.Process(target=work)
    process.start()
    grown = queue.get()
    process.join()
    return grown


def private():
    """Bytes of memory that no other process shares."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    known = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines}
    return known["Private_Dirty"] + known["Private_Clean"]


def of_shards(folder, files):
    """Images a second of the same files in shards: read, and read and decoded."""
    per_shard = min(1000, files // SHARDS)
    for shard in range(SHARDS):
        with tarfile.open(folder / f"s-{shard:02d}.tar", "w") as tar:
            for number in range(shard * per_shard, (shard + 1) * per_shard):
                for end in ("jpg", "txt"):
                    name = f"{number // 1000:04d}/{number:07d}.{end}"
                    content = (folder / name).read_bytes()
                    entry = tarfile.TarInfo(name)
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
    urls = [str(folder / f"s-{shard:02d}.tar") for shard in range(SHARDS)]
    dataset = ShardDataset(urls, per_shard * SHARDS, 10)
    batches = iter(dataset.order(lambda number: (10, 64, 64), seed=1))
    print(f"shards, the first batch, when 1000 images wait: {timed(lambda: next(batches)):.2f} s")
    for count in (10**2, 10**3, 10**4):
        seconds = timed(lambda count=count: sum(map(len, islice(batches, count // 10))))
        print(f"shards, {count} images drawn in order: {1e6 * seconds / count:.0f} us an image")
    raws = list(islice(dataset.raws(), LOADS))
    print(f"shards, decoding: {1e6 * each(dataset.load, raws):.0f} us an image")


def of_cache(folder, augment):
    """Images a second of one worker with and without kept images of 640 x 480."""
    shapes = ShapesDataset(10, 64, (480, 640))
    for number in range(64):
        data = cv2.imencode(".jpg", shapes[number].image[:, :, ::-1])[1].tobytes()
        (folder / f"large-{number}.jpg").write_bytes(data)
        (folder / f"large-{number}.txt").write_text("0 .5 .5 .3 .4\n")
    (folder / "large.txt").write_text("".join(f"large-{n}.jpg\n" for n in range(64)))
    for size in (0, 1 << 28):
        dataset = Dataset.from_list(folder / "large.txt", classes=10)
        if size:
            dataset.keep_images(size)
        with Loader(dataset, 16, 416, 416, augment=augment, workers=1) as loader:
            list(islice(loader, 10))  # more than two epochs
            seconds = timed(lambda loader=loader: list(islice(loader, 12)))
        print(f"{size >> 20} MiB of kept images: {12 * 16 / seconds:.1f} images/s")

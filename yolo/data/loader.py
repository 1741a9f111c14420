"""Batches for training, made by worker processes, in an order that only the seed decides.

The order is a list of positions: position p is image p mod n of epoch p div n, and each epoch is
a shuffle of its own, so that every image comes once an epoch (Darknet draws with replacement).
Whatever is random about a sample follows from (seed, position) alone. Hence a batch depends
neither on the number of workers nor on what was made before it, and a run goes on exactly where
it stopped when it is given the same seed and `start`.
"""

import itertools
import logging
import os
import shutil
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from .augment import Augment
from .image import ImageError
from .labels import LabelError
from .lists import DataError
from .sample import Notes, collate, scaled

ATTEMPTS = 50  # images tried in place of a broken one before the data set counts as unusable
AHEAD = 2  # batches that each worker makes ahead of time

log = logging.getLogger("yolo.data")


class Order:
    """Endless batches of draws (image index, (seed, position), (height, width)).

    `sizes` gives (images, height, width) of a batch from its number. The first batch is number
    `number`, after `start` images. `share` takes the bounds of what is made here from a number of
    images: the batches of several ranks' shares are those of one process, cut.
    """

    def __init__(self, length, sizes, seed=0, start=0, number=0, share=None):
        if length < 1:
            raise DataError(f"{length} images: nothing to draw from")
        self.length, self.sizes, self.seed = length, sizes, seed
        self.start, self.number = start, number
        self.share = share or (lambda images: (0, images))

    def __iter__(self):
        position, epoch, shuffled = self.start, None, None
        for number in itertools.count(self.number):
            images, height, width = self.sizes(number)
            draws = []
            for _ in range(images):
                if position // self.length != epoch:
                    epoch = position // self.length
                    shuffled = np.random.default_rng((self.seed, epoch)).permutation(self.length)
                index = int(shuffled[position % self.length])
                draws.append((index, (self.seed, position), (height, width)))
                position += 1
            yield draws[slice(*self.share(images))]


class _Samples:
    """What workers run: a draw -> (augmented sample, notes). Map style, as DataLoader wants."""

    def __init__(self, dataset, augment):
        self.dataset, self.augment = dataset, augment

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, draw):
        index, seed, size, *neighbours = draw
        others = neighbours[0] if neighbours else range(len(self))
        rng = np.random.default_rng((*seed, 1))
        notes = Notes()
        wanted = self.augment.images_needed(rng)
        indices = [index, *(others[i] for i in rng.integers(len(others), size=wanted - 1))]
        samples = [self._load(i, (*seed, 2, n), notes, others) for n, i in enumerate(indices)]
        return self.augment.make(samples, size, rng), notes

    def _load(self, index, seed, notes, others):
        """The image `index`, or another one, chosen by `seed` of `others`, where it is broken."""
        rng = None
        for _ in range(ATTEMPTS):
            try:
                sample = self.dataset.load(index)
            except (ImageError, LabelError) as error:
                notes.broken.append(str(error))
                rng = rng or np.random.default_rng(seed)
                index = others[int(rng.integers(len(others)))]
            else:
                notes.add(sample)
                return sample
        last = "\n  ".join(dict.fromkeys(notes.broken[-10:]))
        raise DataError(f"{ATTEMPTS} images in a row are broken; the last are\n  {last}")


def _together(items):
    """[(sample, notes)] -> Batch with bytes."""
    batch = collate([sample for sample, _ in items])
    for _, notes in items:
        batch.notes.extend(notes)
    return batch


def _heed(parent):
    """Ends this process when `parent` sends SIGTERM."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


@contextmanager
def _sigterm_withheld():
    """What is forked here begins with SIGTERM blocked, and so does each thread that a library
    starts there before `_start_worker` is called; one that is not blocked would end the worker."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _start_worker(_):
    """One thread for each worker; Ctrl-C, and a SIGTERM to all processes of a job, are the main
    process's affair: only its own SIGTERM ends a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_heed, args=(os.getppid(),), daemon=True).start()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def cores():
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers():
    """Half the cores, 1 to 8: the other half computes."""
    return max(1, min(8, cores() // 2))


def _made_by(samples, workers, **options):
    """An iterator over a DataLoader with `workers` processes or, with 0, right here.

    Workers are forked on Linux: they start at once and share the data set's memory. They run
    OpenCV and NumPy only, and none of this package's threads, which do not survive a fork.
    """
    if workers:
        context = "fork" if sys.platform == "linux" else "spawn"
        options.update(multiprocessing_context=context, worker_init_fn=_start_worker)
        options.update(prefetch_factor=AHEAD)
    # A generator of its own: opening a loader must not draw from the network's random numbers.
    loader = DataLoader(samples, num_workers=workers, generator=torch.Generator(), **options)
    with _sigterm_withheld():
        return iter(loader)


def _shared_memory_holds(size):
    """Whether /dev/shm has room for `size` bytes twice over; containers often have 64 MB."""
    try:
        return shutil.disk_usage("/dev/shm").free > 2 * size
    except OSError:
        return True  # not Linux: shared memory is no file system there


def _as_array(items):
    """As `_together`, with arrays: they travel through a pipe, slower, but need no /dev/shm."""
    batch = _together(items)
    labels = None if batch.labels is None else batch.labels.numpy()
    return replace(batch, images=batch.images.numpy(), boxes=batch.boxes.numpy(), labels=labels)


class Loader:
    """Batches of augmented samples, forever: `next(loader)`, or a for loop.

    `sizes` is a function from the number of a batch, 0 for the first of the whole run, to its
    (images, height, width), for training at changing sizes; `batch`, `height` and `width` are
    then the largest that it gives. `share` is that of an `Order`; `order` takes the place of that
    class.

    `waited` is the time in seconds that the caller spent waiting, `position` the number of images
    handed out, `number` that of batches; with the same seed, `start=position` and `number=number`
    another loader goes on from there (`number` follows from `start` where all batches are alike).
    Each broken file is named once in the log "yolo.data" and replaced; `skipped` counts how often,
    `broken`, `unlabelled` and `repairs` hold what was met so far.
    """

    def __init__(
        self,
        dataset,
        batch,
        height,
        width,
        augment=None,
        workers=None,
        seed=0,
        start=0,
        number=None,
        sizes=None,
        share=None,
        order=None,
    ):
        if batch < 1:
            raise DataError(f"batches of {batch} images: nothing to draw")
        self.dataset, self.seed, self.position = dataset, seed, start
        self.number = start // batch if number is None else number
        self.workers = default_workers() if workers is None else workers
        self.augment = augment or Augment()
        self.waited, self.skipped = 0.0, 0
        self.broken, self.unlabelled, self.repairs = {}, {}, {}
        sizes = sizes or (lambda number: (batch, height, width))
        own = getattr(dataset, "order", None)  # that of shards, which no other one fits
        if own and order:
            raise DataError("track=1: shards hold single images, not videos; give a list")
        order = partial(order or Order, len(dataset)) if own is None else own
        self.order = order(sizes, seed, start, self.number, share)
        ahead = 3 * height * width * batch * AHEAD * self.workers
        self._join = _together if _shared_memory_holds(ahead) else _as_array
        self._made = None

    def __iter__(self):
        return self

    def __next__(self):
        started = time.perf_counter()
        if self._made is None:
            samples = _Samples(self.dataset, self.augment)
            order, join = self.order, self._join
            self._made = _made_by(samples, self.workers, batch_sampler=order, collate_fn=join)
        try:
            batch = next(self._made)
        except Exception as error:
            if not self.workers:
                raise
            # PyTorch's frames of it hold the workers, in a cycle: whom the collector finds in one
            # end five seconds later. Where it happened in the worker, the message tells.
            raise error.with_traceback(None) from None
        images = scaled(torch.as_tensor(batch.images))
        labels = None if batch.labels is None else torch.as_tensor(batch.labels)
        boxes, whole = torch.as_tensor(batch.boxes), self.order.sizes(self.number)[0]
        batch = replace(batch, images=images, boxes=boxes, labels=labels, whole=whole)
        self.position += whole
        self.number += 1
        self._note(batch.notes)
        self.waited += time.perf_counter() - started
        return batch

    def _note(self, notes):
        """Counts what was wrong in a batch; names each broken file and mended line once."""
        self.skipped += len(notes.broken)
        for message in notes.broken:
            if message not in self.broken:
                log.warning("%s; another image is used instead", message)
        for message in notes.repairs:
            if message not in self.repairs:
                log.warning("%s", message)
        for seen, new in (
            (self.broken, notes.broken),
            (self.unlabelled, notes.unlabelled),
            (self.repairs, notes.repairs),
        ):
            for text in new:
                seen[text] = seen.get(text, 0) + 1

    def close(self):
        """Ends the workers and the stream of batches."""
        self._made = iter(())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

"""The loader: one order whatever makes the batches, honest counts, and an end without waiting."""

import itertools
import logging
import multiprocessing
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from yolo.data import loader as loading
from yolo.data.augment import Augment, ClassifierAugment
from yolo.data.image import ImageError
from yolo.data.lists import DataError
from yolo.data.loader import Loader, Order
from yolo.data.sample import Sample
from yolo.data.shapes import ShapeClasses, ShapesDataset

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = Augment(0.3, 1.2, True, 0.1, 1.5, 1.5, mosaic=True)


class Levels:
    """Image k is of grey level k and has one box of class k; some are broken or unlabelled."""

    names, classes = None, 64

    def __init__(self, length=10, broken=(), unlabelled=(), pause=0.0):
        self.length, self.broken, self.unlabelled, self.pause = length, broken, unlabelled, pause

    def __len__(self):
        return self.length

    def load(self, index):
        time.sleep(self.pause)
        if index in self.broken:
            raise ImageError(f"{index}.png: broken")
        image = np.full((20, 30, 3), index, np.uint8)
        boxes = np.array([(index, 0.5, 0.5, 0.5, 0.5)], np.float32)
        return Sample(image, boxes, f"{index}.png", unlabelled=index in self.unlabelled)


def take(count, *args, **options):
    """The first batches of a loader."""
    with Loader(*args, **options) as batches:
        return list(itertools.islice(batches, count))


def same(a, b):
    """Whether two batches are equal in every value."""
    labels = a.labels is None or torch.equal(a.labels, b.labels)
    equal = torch.equal(a.images, b.images) and torch.equal(a.boxes, b.boxes)
    return equal and labels and a.paths == b.paths


def test_what_a_batch_holds():
    (batch,) = take(1, Levels(), 4, 32, 48, workers=0)
    assert batch.images.shape == (4, 3, 32, 48) and batch.images.dtype == torch.float32
    assert len(batch) == 4 and len(batch.paths) == 4
    assert batch.boxes.shape == (4, 6) and batch.boxes.dtype == torch.float32
    assert batch.boxes[:, 0].tolist() == [0, 1, 2, 3]
    level = batch.boxes[:, 1] / 255
    torch.testing.assert_close(batch.images.amax((1, 2, 3)), level)
    assert batch.paths == [f"{int(k)}.png" for k in batch.boxes[:, 1]]


def test_images_without_boxes():
    dataset = Levels()
    dataset.load = lambda index: Sample(
        np.zeros((8, 8, 3), np.uint8), np.zeros((0, 5), np.float32), ""
    )
    (batch,) = take(1, dataset, 2, 32, 32, augment=OPTIONS, workers=0)
    assert batch.boxes.shape == (0, 6)


def test_every_image_comes_once_an_epoch():
    draws = itertools.islice(Order(10, lambda number: (4, 32, 32), seed=1), 10)
    indices = [index for batch in draws for index, _, _ in batch]
    epochs = [indices[k : k + 10] for k in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


@pytest.mark.parametrize("start", [4, 12, 40])
def test_a_run_goes_on_where_it_stopped(start):
    whole = take(14, Levels(), 4, 32, 32, augment=OPTIONS, workers=0, seed=5)
    rest = take(2, Levels(), 4, 32, 32, augment=OPTIONS, workers=0, seed=5, start=start)
    assert all(map(same, whole[start // 4 :], rest))
    with Loader(Levels(), 4, 32, 32, workers=0, start=start) as batches:
        next(batches)
        assert batches.position == start + 4


def changing(number):
    """(images, height, width) of a batch: as a network that trains at several sizes asks."""
    return ((2, 64, 96), (5, 32, 32), (3, 96, 64))[number // 2 % 3]


KINDS = {
    "mosaic": (OPTIONS, ShapesDataset(10, 9, 64)),
    "mixup, blur, noise": (
        Augment(0.3, flip=True, mixup=True, blur=5, gaussian_noise=20),
        ShapesDataset(10, 9, 64),
    ),
    "classifier": (
        ClassifierAugment(48, 64, 9, 1.3, True, cutmix=True, mosaic=True, blur=1),
        ShapeClasses(10, 9, 64),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_do_not_depend_on_the_number_of_workers(kind):
    options, dataset = KINDS[kind]
    alone = take(6, dataset, 3, 64, 64, augment=options, workers=0, seed=2)
    for workers in (1, 2, 3):
        helped = take(6, dataset, 3, 64, 64, augment=options, workers=workers, seed=2)
        assert all(map(same, alone, helped))
    other = take(6, dataset, 3, 64, 64, augment=options, workers=0, seed=3)
    assert not any(map(same, alone, other))


@pytest.mark.parametrize("workers", [0, 2])
def test_no_image_is_repeated_or_dropped_where_a_run_stops(workers):
    """Stopped every few batches, at sizes that change, over two epochs of 10 images."""
    paths, position, number = [], 0, 0
    while position < 20:
        options = dict(start=position, number=number, sizes=changing, seed=6, augment=OPTIONS)
        with Loader(Levels(), 5, 96, 96, workers=workers, **options) as batches:
            for batch in itertools.islice(batches, 2):
                paths += batch.paths
            position, number = batches.position, batches.number
    assert sorted(paths[:10]) == sorted(paths[10:20]) == sorted(f"{k}.png" for k in range(10))


def test_batches_through_a_pipe_are_the_same(monkeypatch):
    expected = take(2, Levels(), 2, 32, 32, workers=0)
    monkeypatch.setattr(loading, "_shared_memory_holds", lambda size: False)
    assert all(map(same, expected, take(2, Levels(), 2, 32, 32, workers=1)))


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_the_size_may_change_from_batch_to_batch(workers):
    options = dict(augment=OPTIONS, seed=4, sizes=changing)
    whole = take(9, Levels(), 5, 96, 96, workers=0, **options)
    shapes = [(len(b), *b.images.shape[2:]) for b in whole]
    assert shapes == [changing(number) for number in range(9)]
    with Loader(Levels(), 5, 96, 96, workers=workers, **options) as batches:
        first = list(itertools.islice(batches, 3))
        position, number = batches.position, batches.number
    assert (position, number) == (9, 3)  # in the middle of an epoch of 10
    options |= dict(start=position, number=number)
    assert all(map(same, whole, first + take(6, Levels(), 5, 96, 96, workers=workers, **options)))


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_images_are_replaced_counted_and_named_once(workers, caplog):
    dataset = Levels(10, broken=(2, 5), unlabelled=(3,))
    caplog.set_level(logging.WARNING, "yolo.data")
    with Loader(dataset, 5, 32, 32, workers=workers) as batches:
        made = list(itertools.islice(batches, 8))  # four epochs
        assert batches.skipped >= 8 and len(batches.broken) == 2
        assert list(batches.unlabelled) == ["3.png"]
    assert all(len(batch) == 5 for batch in made)
    assert not {"2.png", "5.png"} & {path for batch in made for path in batch.paths}
    assert sorted(record.getMessage()[:5] for record in caplog.records) == ["2.png", "5.png"]
    again = take(8, dataset, 5, 32, 32, workers=0)
    assert all(map(same, made, again))


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_broken_images_is_an_error(workers):
    with pytest.raises(DataError, match="50 images in a row are broken"):
        take(1, Levels(3, broken=(0, 1, 2)), 2, 32, 32, workers=workers)
    assert not multiprocessing.active_children()  # nor workers that wait for the collector


def test_nothing_to_draw_from_is_an_error():
    with pytest.raises(DataError, match="0 images: nothing"):
        Loader(Levels(0), 2, 32, 32)


def test_waiting_is_counted():
    with Loader(Levels(pause=0.02), 5, 32, 32, workers=0) as batches:
        started = time.perf_counter()
        next(batches)
        passed = time.perf_counter() - started
        assert 0.1 <= batches.waited <= passed
        before = batches.waited
        time.sleep(0.05)  # the caller's own work does not count
        assert batches.waited == before


def test_a_worker_that_is_ahead_costs_no_wait():
    with Loader(Levels(pause=0.04), 5, 32, 32, workers=1) as batches:
        next(batches)
        time.sleep(0.8)  # batches of 0.2 seconds are made meanwhile
        before = batches.waited
        next(batches)
        assert batches.waited - before < 0.2  # less than making one takes


def test_a_closed_loader_is_at_its_end():
    with Loader(Levels(), 2, 32, 32, workers=1) as batches:
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)


def test_a_program_that_drops_its_loader_ends_at_once():
    program = (
        "from yolo.data import Loader, ShapesDataset\n"
        "batches = Loader(ShapesDataset(3, 50, 64), 4, 64, 64, workers=2)\n"
        "print(next(batches).images.shape[0])\n"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize("ranks", [2, 3])
def test_shares_are_the_batches_of_one_process_cut(ranks):
    """Ten images in batches of four, so that batches cross epochs; begun in the middle of one."""
    whole = take(8, Levels(), 4, 32, 48, workers=0, seed=3, start=4)
    parts = []
    for rank in range(ranks):
        bounds = partial(lambda rank, n: (n * rank // ranks, n * (rank + 1) // ranks), rank)
        parts.append(take(8, Levels(), 4, 32, 48, workers=0, seed=3, start=4, share=bounds))
    for batch, *shares in zip(whole, *parts, strict=True):
        assert [path for share in shares for path in share.paths] == batch.paths
        assert torch.equal(torch.cat([share.images for share in shares]), batch.images)
        assert {share.images_of_all for share in shares} == {4}

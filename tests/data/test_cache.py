"""The cache of decoded images: the same batches, bounded memory, many writers, killed ones too."""

import argparse
import itertools
import mmap
import multiprocessing
import os
import signal
import sys

import numpy as np
import pytest

from yolo.commands.flags import size
from yolo.data import Dataset, image
from yolo.data.augment import Augment
from yolo.data.cache import ImageCache
from yolo.data.image import ImageError
from yolo.data.lists import DataError
from yolo.data.loader import Loader

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
AUGMENT = Augment(0.3, 1.2, True, 0.1, 1.5, 1.5, mosaic=True, blur=5, gaussian_noise=20)


def picture(number, height=20, width=30):
    """An image that tells its number."""
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def dataset(tmp_path):
    for number in range(8):
        image.write(tmp_path / f"{number}.png", picture(number))
        (tmp_path / f"{number}.txt").write_text("0 .5 .5 .4 .4\n")
    (tmp_path / "l.txt").write_text("".join(f"{number}.png\n" for number in range(8)))
    return Dataset.from_list(tmp_path / "l.txt", classes=1)


def test_what_is_put_comes_back_and_cannot_be_written_to():
    cache = ImageCache(1 << 20, 10)
    assert cache.get(3) is None and len(cache) == 0
    for number, shape in ((3, (20, 30)), (0, (1, 1)), (9, (100, 7))):
        cache.put(number, picture(number, *shape))
    assert len(cache) == 3
    for number, shape in ((3, (20, 30)), (0, (1, 1)), (9, (100, 7))):
        np.testing.assert_array_equal(cache.get(number), picture(number, *shape))
    with pytest.raises(ValueError, match="read-only"):
        cache.get(3)[:] = 0


def test_a_full_cache_keeps_what_it_has():
    cache = ImageCache(5000, 10)
    for number in range(10):
        cache.put(number, picture(number))  # 1800 bytes each
    assert len(cache) == 2
    np.testing.assert_array_equal(cache.get(1), picture(1))
    cache.put(8, picture(8, 2, 2))  # a small one still fits
    np.testing.assert_array_equal(cache.get(8), picture(8, 2, 2))
    cache.put(0, picture(5))
    np.testing.assert_array_equal(cache.get(0), picture(0))


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_are_the_same_and_workers_share_what_they_decode(dataset, workers):
    def batches(count):
        with Loader(dataset, 3, 32, 48, augment=AUGMENT, workers=workers, seed=1) as loader:
            return list(itertools.islice(loader, count))

    plain = batches(12)
    dataset.keep_images(1 << 20)
    for _ in range(2):
        for a, b in zip(plain, batches(12), strict=True):
            np.testing.assert_array_equal(a.images, b.images)
            np.testing.assert_array_equal(a.boxes, b.boxes)
    assert len(dataset.cache) >= 6  # in this process, though the workers decoded them
    for number in range(8):
        kept = dataset.cache.get(number)
        assert kept is None or (kept == picture(number)).all()


def test_a_kept_image_needs_no_decoding(dataset, monkeypatch):
    dataset.keep_images(1 << 20)
    first = dataset.load(2)
    monkeypatch.setattr(image, "read", lambda path: pytest.fail("decoded again"))
    np.testing.assert_array_equal(dataset.load(2).image, first.image)


def test_broken_images_are_not_kept(dataset, tmp_path):
    dataset.keep_images(1 << 20)
    (tmp_path / "4.png").write_bytes(b"no image")
    for _ in range(2):
        with pytest.raises(ImageError, match=r"4\.png.*l\.txt:5"):
            dataset.load(4)
    assert len(dataset.cache) == 0


def _fill(cache, first):
    for number in range(400):
        number = (number * 7 + first) % 400
        cache.put(number, picture(number, 9, 11))
        kept = cache.get(number)
        if kept is not None and not (kept == picture(number, 9, 11)).all():
            os._exit(1)


def test_many_writers_at_once():
    cache = ImageCache(1 << 18, 400)
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_fill, args=(cache, 100 * n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    _fill(cache, 0)
    assert len(cache) == 400


def _die_while_writing(cache):
    cache._lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_writer_killed_in_its_turn_stops_nobody():
    cache = ImageCache(1 << 18, 10)
    cache.put(1, picture(1))
    process = multiprocessing.get_context("fork").Process(target=_die_while_writing, args=(cache,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    cache.put(2, picture(2))
    assert cache.get(2) is None
    np.testing.assert_array_equal(cache.get(1), picture(1))


def test_the_memory_has_no_name(monkeypatch):
    """An anonymous mapping: nothing is left in /dev/shm, whatever ends the processes."""
    made, real = [], mmap.mmap

    def record(*args):
        made.append(args)
        return real(*args)

    monkeypatch.setattr(mmap, "mmap", record)
    before = set(os.listdir("/dev/shm"))
    cache = ImageCache(1 << 20, 10)
    cache.put(1, picture(1))
    assert made == [(-1, 1 << 20)]
    assert set(os.listdir("/dev/shm")) <= before


@pytest.mark.parametrize(
    "size, count, message",
    [(100, 1000, "1000 images need 8008"), (1 << 50, 10, "only [0-9]+ are available")],
)
def test_sizes_that_cannot_be(size, count, message):
    with pytest.raises(DataError, match=message):
        ImageCache(size, count)


def test_sizes_as_people_write_them():
    assert [size(text) for text in ("4096", "500M", "8g")] == [4096, 500 << 20, 8 << 30]
    for text in ("", "0", "-1", "8X", "1.5G", "G"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected bytes such as"):
            size(text)

"""Decoded images that all workers of a loader share, so that each is decoded once.

The memory is an anonymous mapping that forked processes inherit. It has no name, so that the
system frees it when the last of them ends, however it ends; /dev/shm, which is small in containers,
has no part in it.
"""

import mmap
import multiprocessing
import sys

import numpy as np

from .lists import DataError

ALIGNED = 64  # images begin at multiples of this
SIDE_BITS = 15  # of an image: image.SIDE_LIMIT


class ImageCache:
    """Room of `size` bytes for decoded images of a data set of `count` images.

    It stops when it is full. Each image comes once an epoch, in a new order: whichever gave way to
    another would be wanted again as soon as that one.

    An image is found through one number: where it begins, its height and its width. It is written
    last, so that readers, who take no lock, see the whole image or none. Writers take turns; who
    would have to wait keeps nothing this time: a process killed in its turn stops nobody.
    """

    def __init__(self, size, count):
        if sys.platform != "linux":
            raise DataError("caching images needs processes that share memory by fork: Linux only")
        taken = 8 * (count + 1)  # how much is used, and a number for each image
        if size < taken:
            raise DataError(f"a cache of {size} bytes: {count} images need {taken} to be found")
        _check_memory(size)
        self._memory = mmap.mmap(-1, size)
        self._used, self._places = np.split(np.frombuffer(self._memory, np.uint64, count + 1), [1])
        self._used[0] = taken
        self._lock = multiprocessing.get_context("fork").Lock()

    def get(self, index):
        """The image, uint8 (height, width, 3), not to be written to; None where it is not kept."""
        place = int(self._places[index])
        if not place:
            return None
        start, height, width = _unpacked(place)
        found = np.frombuffer(self._memory, np.uint8, height * width * 3, start)
        found.flags.writeable = False
        return found.reshape(height, width, 3)

    def put(self, index, image):
        """Keeps an image, if there is room and nobody else is writing."""
        if self._places[index] or not self._lock.acquire(block=False):
            return
        try:
            start = -(-int(self._used[0]) // ALIGNED) * ALIGNED
            end = start + image.nbytes
            if end > len(self._memory):
                return
            self._used[0] = end
            np.frombuffer(self._memory, np.uint8, image.nbytes, start)[:] = image.reshape(-1)
            self._places[index] = _packed(start, *image.shape[:2])
        finally:
            self._lock.release()

    def __len__(self):
        """How many images are kept."""
        return int(np.count_nonzero(self._places))


def _packed(start, height, width):
    return (start // ALIGNED << SIDE_BITS | height) << SIDE_BITS | width


def _unpacked(place):
    side = (1 << SIDE_BITS) - 1
    return (place >> 2 * SIDE_BITS) * ALIGNED, place >> SIDE_BITS & side, place & side


def _check_memory(size):
    """Refuses what this machine does not have; it would end in a kill somewhere else."""
    with open("/proc/meminfo") as file:
        known = dict(line.split(":") for line in file)
    available = int(known["MemAvailable"].split()[0]) << 10
    if size > available:
        raise DataError(f"a cache of {size} bytes: only {available} are available")

"""The memory of packed tensors: pieces never overlap, and gaps are used again."""

import itertools
import random

import numpy
import pytest

from yolo.ops.native import library

PIECE = 64 << 10  # bytes


def lease(pieces):
    return library().packed.Lease(pieces * PIECE // 4)


def address(piece):
    return numpy.asarray(piece).ctypes.data


@pytest.fixture
def room():
    """A gap of ten pieces and none before it, though other tests may have left pieces and gaps."""
    marker, filling = lease(10), [lease(1)]
    while address(filling[-1]) < address(marker):
        filling.append(lease(1))
    del marker
    yield
    del filling


def test_a_gap_is_used_again(room):
    pieces = [lease(n) for n in (3, 2, 4, 1)]
    first, second, third, _ = (address(p) for p in pieces)
    assert first % PIECE == 0
    del pieces[1:3]  # two gaps that become one
    whole = lease(6)
    assert address(whole) == second and second < third
    del whole
    assert address(lease(2)) == second


def test_pieces_do_not_overlap():
    generator, live = random.Random(0), {}
    for i in range(300):
        pieces = generator.randrange(1, 9)
        live[i] = lease(pieces), pieces * PIECE
        if len(live) > 20:
            del live[generator.choice(list(live))]
        ranges = sorted((address(piece), size) for piece, size in live.values())
        assert all(a + n <= b for (a, n), (b, _) in itertools.pairwise(ranges))

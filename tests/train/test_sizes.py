"""Sizes of `random` against Darknet's loop, written out as it stands there."""

from types import SimpleNamespace

import pytest

from yolo.train.sizes import Rhythm, Sizes

NEVER = Rhythm(0, None, 1000)


def options(**changes):
    values = dict(height=416, width=416, resize_step=32, mini_batch=8, max_batches=1000)
    return SimpleNamespace(**values | dict(dynamic_minibatch=0) | changes)


def c_round(x):
    """round() of C: halves away from zero."""
    return int(x + 0.5)


@pytest.mark.parametrize(
    ("random", "own", "largest"), [(1, 416, 608), (1.4, 416, 608), (1, 608, 896), (1.2, 320, 416)]
)
def test_the_largest_size_is_darknets(random, own, largest):
    sizes = Sizes(options(height=own, width=own), random, NEVER)
    assert sizes.largest() == (largest, largest) == (c_round(max(random, 1.4 if random == 1 else
        random) * own / 32 + 1) * 32,) * 2  # fmt: skip


def test_without_random_there_is_one_size():
    sizes = Sizes(options(), 0, NEVER)
    assert {sizes(it) for it in range(1000)} == {(8, 416, 416)} and sizes.all() == {(416, 416)}


def test_the_largest_comes_first_and_at_the_end():
    sizes = Sizes(options(), 1, NEVER)
    assert {sizes(it)[1:] for it in range(10)} == {(608, 608)}
    assert {sizes(it)[1:] for it in range(910, 1000)} == {(608, 608)}
    assert {sizes(it)[1:] for it in range(10, 910)} != {(608, 608)}


def test_a_size_holds_for_ten_iterations_from_the_start_of_the_training():
    sizes = Sizes(options(), 1, NEVER, start=3)
    for first in range(3, 900, 10):
        assert len({sizes(it) for it in range(first, first + 10)}) == 1
    assert len({sizes(it) for it in range(3, 900)}) > 5


def test_drawn_sizes_are_those_of_darknets_formula():
    """v from 1 to 1.4 or its reciprocal; smaller ones never come out above the cfg's size."""
    sizes = Sizes(options(width=608), 1, NEVER)
    possible = set()
    for step in range(20001):
        for v in (1 + 0.4 * step / 20000, 1 / (1 + 0.4 * step / 20000)):
            size = tuple(c_round(v * n / 32 + 1) * 32 for n in (416, 608))
            larger = v < 1 and (size[0] > 416 or size[1] > 608)
            possible.add((416, 608) if larger else size)
    found = {sizes(it)[1:] for it in range(10, 910, 10)}
    for seed in range(20):
        found |= {
            Sizes(options(width=608), 1, NEVER, seed=seed)(it)[1:] for it in range(10, 910, 10)
        }
    assert found <= possible and len(found) > 0.9 * len(possible)
    assert found <= sizes.all()


def test_after_a_measurement_the_cfgs_size_stays_until_the_next_draw():
    sizes = Sizes(options(), 1, Rhythm(104, 100, 1000))
    assert sizes(103)[1:] != (416, 416)
    assert {sizes(it)[1:] for it in range(104, 110)} == {(416, 416)}
    assert sizes(110)[1:] == Sizes(options(), 1, NEVER)(110)[1:]
    # measured just when a size is drawn: the draw comes after it
    assert Sizes(options(), 1, Rhythm(110, 100, 1000))(110) == Sizes(options(), 1, NEVER)(110)


def test_sizes_follow_from_seed_and_iteration_alone():
    one, two = Sizes(options(), 1, NEVER, seed=4), Sizes(options(), 1, NEVER, seed=4)
    assert [one(it) for it in range(0, 900, 7)] == [two(it) for it in range(0, 900, 7)]
    other = Sizes(options(), 1, NEVER, seed=5)
    assert [one(it) for it in range(0, 900, 7)] != [other(it) for it in range(0, 900, 7)]


def test_dynamic_minibatch_fills_the_memory_of_the_largest_size():
    sizes = Sizes(options(dynamic_minibatch=1), 1, NEVER)
    for it in range(0, 1000, 10):
        images, height, width = sizes(it)
        filled = int(8 * 608 * 608 / (height * width))
        assert images == (int(0.8 * filled) if int(0.8 * filled) > 8 else filled)
    assert sizes(0) == (8, 608, 608)
    assert max(sizes(it)[0] for it in range(0, 900, 10)) > 12
    measured = Sizes(options(dynamic_minibatch=1), 1, Rhythm(104, 100, 1000))
    assert measured(105) == (8, 416, 416)


@pytest.mark.parametrize(
    ("rhythm", "expected"),
    [
        (Rhythm(100, 100, 350), [100, 200, 300, 350]),
        (Rhythm(130, 100, 350), [130, 230, 330, 350]),
        (Rhythm(0, None, 350), []),
    ],
)
def test_rhythm(rhythm, expected):
    assert [it for it in range(1, 351) if rhythm.due(it)] == expected
    assert rhythm.between(99, 350) == bool(expected) and not rhythm.between(350, 350)

"""Learning rates by hand, and to the bit those of a Darknet run."""

from dataclasses import replace
from math import cos, exp, pi

import numpy as np
import pytest

from yolo.cfg import read
from yolo.options import NetOptions
from yolo.schedule import POLICIES, Schedule

BASE = NetOptions(learning_rate=0.01, max_batches=1000)


def rates(numbers, **keys):
    schedule = Schedule(replace(BASE, **keys))
    return [schedule.rate(b) for b in numbers]


def close(values):
    return pytest.approx(values, rel=1e-6)


def test_burn_in_comes_first_whatever_the_policy():
    for policy in POLICIES:
        keys = dict(policy=policy, burn_in=4, steps=[1], scales=[0.1])
        assert rates([1, 2], **keys) == close([0.01 / 256, 0.01 / 16])
    assert rates([4], burn_in=4) == close([0.01])
    assert rates([1], burn_in=2, power=1.0) == close([0.005])


def test_constant():
    assert rates([1, 999], policy="constant") == close([0.01, 0.01])


def test_step():
    got = rates([1, 9, 10, 25], policy="step", step=10, scale=0.5)
    assert got == close([0.01, 0.01, 0.005, 0.0025])


def test_steps():
    keys = dict(policy="steps", steps=[400, 450], scales=[0.1, 0.5])
    assert rates([399, 400, 449, 450, 900], **keys) == close([0.01, 0.001, 0.001, 0.0005, 0.0005])
    assert rates([1, 900], policy="steps") == close([0.01, 0.01])


def test_a_step_after_a_larger_one_waits_for_it():
    keys = dict(policy="steps", steps=[50, 10], scales=[0.1, 0.5])
    assert rates([20, 50], **keys) == close([0.01, 0.0005])


def test_exp():
    assert rates([0, 3], policy="exp", gamma=0.9) == close([0.01, 0.01 * 0.9**3])


def test_poly():
    assert rates([0, 500, 1000], policy="poly") == close([0.01, 0.01 / 16, 0])
    assert rates([1200], policy="poly") == [0]


def test_sigmoid():
    got = rates([0, 10, 20], policy="sigmoid", gamma=0.3, step=10)
    assert got == close([0.01 / (1 + exp(-3)), 0.005, 0.01 / (1 + exp(3))])
    assert rates([10**6], policy="sigmoid", gamma=1.0, step=1) == [0]


def test_sgdr():
    keys = dict(policy="sgdr", sgdr_cycle=10, sgdr_mult=2, learning_rate_min=0.001)
    mean, half = 0.0055, 0.0045
    got = rates([5, 10, 11, 20, 30, 31], **keys)
    want = [mean, 0.001, mean + half * cos(pi / 20), mean, 0.001, mean + half * cos(pi / 40)]
    assert got == close(want)
    one = rates([500], policy="sgdr", learning_rate_min=0.001)  # max_batches is the first cycle
    assert one == close([mean])


def test_random_draws_once_for_each_update():
    schedule = Schedule(replace(BASE, policy="random", power=1.0), seed=3)
    drawn = [schedule.rate(b) for b in range(200)]
    assert drawn == [schedule.rate(b) for b in range(200)]
    assert all(0 <= rate < 0.01 for rate in drawn)
    assert np.mean(drawn) == pytest.approx(0.005, rel=0.15)
    assert drawn != [Schedule(schedule.options, seed=4).rate(b) for b in range(200)]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (dict(policy="cosine"), "constant, step, .*got 'cosine'"),
        (dict(policy="steps", steps=[1, 2], scales=[0.1]), "2 steps and 1 scales"),
        (dict(policy="step", step=0), "step of 1 or more; got 0"),
        (dict(policy="poly", max_batches=0), "max_batches; got 0"),
        (dict(policy="sgdr", max_batches=0), "sgdr_cycle or max_batches"),
        (dict(policy="sgdr", sgdr_mult=0), "sgdr_mult must be 1 or more; got 0"),
    ],
)
def test_refusals_say_what_is_wrong(keys, words):
    with pytest.raises(ValueError, match=words):
        Schedule(replace(BASE, **keys))


def test_rates_of_a_darknet_run_to_the_bit(shared):
    for folder in sorted((shared / "golden").iterdir()):
        if not (folder / "golden.npz").exists():
            continue
        want = np.load(folder / "golden.npz")["train.rate"]
        schedule = Schedule(NetOptions.read(read(folder / "net.cfg")[0]))
        got = [schedule.rate(b) for b in range(1, len(want) + 1)]
        assert np.array_equal(np.float32(got), want), folder.name

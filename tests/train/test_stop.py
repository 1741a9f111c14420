"""Signals within a process: the first is noted, the second is the system's."""

import os
import signal

import pytest

from tests.train.small_run import trainer
from yolo.checkpoint import read
from yolo.train.stop import Interrupted, Stop


@pytest.fixture(autouse=True)
def usual_handlers():
    """Those of a program in the foreground; one in the background may ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_would_end_the_process(number):
    with Stop() as stop:
        os.kill(os.getpid(), number)
        assert stop.signal == number and stop.exit_code == 128 + number
        assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_some_blocks_may_be_broken_off():
    with Stop() as stop:
        with pytest.raises(Interrupted), stop.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 5)
        with pytest.raises(Interrupted), stop.at_once():
            pass


def test_a_signal_while_map_is_measured_breaks_it_off_and_it_comes_first_afterwards(tmp_path):
    calls = []

    def measure(net, valid, precision):
        calls.append(net.iteration)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 5)
        return type("Result", (), {"score": 0.5, "brief": "mAP"})

    first = trainer(tmp_path, 9, map_every=5, measure=measure)
    first.run()
    state = read(tmp_path / "micro.ckpt").state
    assert (state["iteration"], state["booked"], first.ended) == (5, 4, "SIGTERM")
    second = trainer(
        tmp_path, 9, map_every=5, measure=measure, checkpoint=read(tmp_path / "micro.ckpt")
    )
    second.run()
    assert calls == [5, 5, 9]
    table = second.output.metrics
    assert [row["iteration"] for row in table] == list(range(1, 10))
    assert [row["map"] for row in table] == [None] * 4 + [0.5] + [None] * 3 + [0.5]
    assert all(row["no-obj_3"] > 0 for row in table)

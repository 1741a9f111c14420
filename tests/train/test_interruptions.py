"""`train` as a user stops it and goes on: real signals to a real process, any number of workers."""

import csv
import os
import signal
import sys
import threading
import time
import traceback

import cv2
import numpy as np
import pytest
import torch

from yolo.__main__ import main
from yolo.train.progress import TIMES

CFG = """
[net]
batch=4
subdivisions=2
width=32
height=32
channels=3
learning_rate=0.001
max_batches=40
mosaic=1
[convolutional]
batch_normalize=1
filters=8
size=3
stride=8
pad=1
activation=leaky
[dropout]
probability=0.2
[convolutional]
filters=8
size=1
activation=linear
[yolo]
mask=0
anchors=12,12
num=1
classes=3
random=1
jitter=.3
"""


def write_data(folder):
    """The cfg, and 14 pictures of noise with labels; gives the path of the cfg."""
    rng, names = np.random.default_rng(0), [f"{number}.png" for number in range(14)]
    for name in names:
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (40, 60, 3), np.uint8))
        x, y = rng.uniform(0.3, 0.7, 2)
        label = f"{rng.integers(3)} {x:.3f} {y:.3f} 0.4 0.5\n"
        (folder / name).with_suffix(".txt").write_text(label)
    (folder / "list.txt").write_text("\n".join(names))
    (folder / "d.data").write_text("classes=3\ntrain=list.txt\nsavelast=5\nsaveweights=15\n")
    (folder / "micro.cfg").write_text(CFG)
    return folder / "micro.cfg"


@pytest.fixture
def micro(tmp_path):
    return write_data(tmp_path)


def flags(micro, name, workers, *more):
    data = ["--data", micro.parent / "d.data"]
    return ["train", micro, *data, "--out", micro.parent / name, "--workers", workers, *more]


def run(words):
    return main([str(word) for word in words])


def begin(words, output):
    """The command in a process of its own, its own group too; what it says goes to a file."""
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1), os.dup2(file, 2)
        sys.stdout = sys.stderr = os.fdopen(os.dup(1), "w", buffering=1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.register_at_fork(after_in_child=linger)
        os._exit(run(words))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(99)


def linger():
    """A thread as some libraries start one in each process that is forked."""
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def ended(child, output):
    """(exit code of the process, what it said): the latter for those who read of a failure."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output.read_text()


def wait_for_rows(folder, count):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        path = folder / "metrics.csv"
        if path.exists() and len(path.read_text().splitlines()) > count:
            return
        time.sleep(0.005)
    raise AssertionError(f"no {count} iterations within a minute")


def curve(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody stopped, on one thread as the others: sums depend on how many there are,
    and this fixture is made before the one that sets it for each test."""
    folder, threads = tmp_path_factory.mktemp("whole"), torch.get_num_threads()
    torch.set_num_threads(1)
    assert run(flags(write_data(folder), "out", 0)) == 0
    torch.set_num_threads(threads)
    return folder / "out"


@pytest.mark.parametrize(
    ("number", "group", "code", "workers"),
    [
        (signal.SIGINT, False, 130, (0, 2)),
        (signal.SIGINT, True, 130, (2, 1)),  # as Ctrl-C in a terminal reaches workers too
        (signal.SIGTERM, True, 143, (2, 0)),  # as a batch system ends a job
        (signal.SIGKILL, False, -9, (1, 2)),
    ],
)
def test_stopped_and_gone_on(micro, whole, number, group, code, workers):
    child = begin(flags(micro, "out", workers[0]), micro.parent / "said")
    wait_for_rows(micro.parent / "out", 12)
    os.kill(-child if group else child, number)
    exit_code, said = ended(child, micro.parent / "said")
    assert exit_code == code, said
    if number != signal.SIGKILL:
        last = said.strip().splitlines()[-1]
        assert last.startswith(f"{signal.Signals(number).name}: stopped after iteration ")
        assert "Traceback" not in said and "Error" not in said
    assert run(flags(micro, "out", workers[1], "--resume")) == 0
    assert curve(micro.parent / "out") == curve(whole)
    final = "micro_final.weights"
    assert (micro.parent / "out" / final).read_bytes() == (whole / final).read_bytes()


def test_a_second_signal_leaves_at_once(micro):
    child = begin(flags(micro, "out", 0, "--iterations", 100000), micro.parent / "said")
    wait_for_rows(micro.parent / "out", 3)
    os.kill(child, signal.SIGSTOP)  # both are there when it goes on
    os.kill(child, signal.SIGTERM)
    os.kill(child, signal.SIGCONT)
    time.sleep(0.001)
    os.kill(child, signal.SIGTERM)
    code, said = ended(child, micro.parent / "said")
    assert code in (143, -signal.SIGTERM), said  # shells report both as 143


def test_an_unfinished_training_is_not_written_over(micro, capsys):
    assert run(flags(micro, "out", 0, "--max-hours", "1e-9")) == 0
    capsys.readouterr()
    assert run(flags(micro, "out", 0)) == 1
    assert "iteration 0 of 40: go on with --resume" in capsys.readouterr().err
    assert run(flags(micro, "out", 0, "--fresh", "--iterations", 2)) == 0
    assert run(flags(micro, "out", 0, "--iterations", 1)) == 0  # that one was finished


def test_resume_without_a_checkpoint_begins_and_with_a_finished_one_ends(micro, capsys):
    assert run(flags(micro, "out", 0, "--iterations", 2, "--resume")) == 0
    assert "starts from its beginning" in capsys.readouterr().out
    assert run(flags(micro, "out", 0, "--resume")) == 0
    assert "the training is complete" in capsys.readouterr().out


def test_flags_come_from_the_checkpoint_and_changes_are_said(micro, capsys):
    more = ("--seed", 3, "--set", "momentum=0.8", "--width", 64, "--height", 64)
    assert run(flags(micro, "out", 0, "--iterations", 2, *more)) == 0
    capsys.readouterr()
    assert run(flags(micro, "out", 0, "--resume", "--iterations", 4)) == 0
    said = capsys.readouterr().out
    assert "--iterations 4 from here on; it was 2" in said and "--seed" not in said
    text = (micro.parent / "out" / "micro.cfg").read_text()
    assert "momentum=0.8" in text and "width=64" in text and "max_batches=4" in text
    assert run(flags(micro, "other", 0, "--iterations", 4, *more)) == 0
    assert curve(micro.parent / "other")[2:] == curve(micro.parent / "out")[2:]


def test_a_path_may_be_given(micro, capsys):
    assert run(flags(micro, "a", 0, "--iterations", 2)) == 0
    checkpoint = micro.parent / "a" / "micro.ckpt"
    assert run(flags(micro, "b", 0, "--resume", checkpoint, "--iterations", 3)) == 0
    assert len(curve(micro.parent / "b")) == 3
    checkpoint.write_bytes(b"broken")
    capsys.readouterr()
    assert run(flags(micro, "c", 0, "--resume", checkpoint)) == 1
    assert "damaged" in capsys.readouterr().err


def test_frozen_layers_stay(micro, capsys):
    from yolo import load

    assert run(flags(micro, "a", 0, "--iterations", 1)) == 0
    assert run(flags(micro, "b", 0, "--iterations", 3, "--freeze", 2)) == 0
    one, two = (
        load(micro.parent / name / "micro.cfg", micro.parent / name / "micro_final.weights")
        for name in "ab"
    )
    start = load(micro)
    assert (two.layers[0].weight == start.layers[0].weight).all()
    assert not (one.layers[0].weight == start.layers[0].weight).all()
    assert not (two.layers[2].weight == start.layers[2].weight).all()
    assert run(flags(micro, "c", 0, "--freeze", 4)) == 1
    assert "some must train" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["adversarial_lr=0.05", "weights_reject_freq=100"])
def test_what_is_not_built_is_refused_in_words(micro, key, capsys):
    assert run(flags(micro, "out", 0, "--set", key)) == 1
    assert "cannot be trained with" in capsys.readouterr().err.splitlines()[-1]


def test_savelast_and_saveweights_of_the_data_file(micro):
    assert run(flags(micro, "out", 0, "--iterations", 16, "--keep", 9)) == 0
    names = {p.name for p in (micro.parent / "out").glob("*_*") if p.suffix != ".csv"}
    assert names == {
        *("micro_0.ckpt", "micro_5.ckpt", "micro_10.ckpt", "micro_15.ckpt"),
        *("micro_15.weights", "micro_last.weights", "micro_final.weights"),
    }
    assert run(flags(micro, "more", 0, "--iterations", 3, "--save-every", 2)) == 0
    assert (micro.parent / "more" / "micro_2.ckpt").exists()

"""A run that is broken off and goes on is the run that was not, bit for bit."""

import pytest
import torch

from tests.train.small_run import MICRO, assert_same, network, tensors, trainer
from yolo.checkpoint import CheckpointError, read, write

START, END, LAST = 1000, 1016, 2010  # iterations: of the runs, and the cfg's max_batches
NET = "max_batches=100"
YOLO = MICRO[MICRO.index("[yolo]") :]
RCNN = """[rpn]
anchors=12,12
border=-1
sample=9
pre_nms=12
train_proposals=8
proposals=4
[roi_align]
features=0
rois=-1
width=2
height=2
[connected]
batch_normalize=1
output=6
activation=leaky
[connected]
output=11
activation=linear
[fast_rcnn]
rois=-4
classes=2
sample=4
random=0
"""
CHANGES = {
    "Faster R-CNN": ((YOLO, RCNN), ("filters=7", "filters=5")),
    "momentum and dropout": (),
    "sizes": (("random=0", "random=1"),),
    "sizes and mini-batches": (("random=0", "random=1"), (NET, "dynamic_minibatch=1\n" + NET)),
    "adam": ((NET, "adam=1\n" + NET),),
    "average": ((NET, "ema_alpha=0.9\n" + NET),),
}


class Killed(BaseException):
    pass


def begin(out, changes, **settings):
    """A run from iteration 1000; the average begins at 1005 and is taken over at 1010."""
    net = network(changes)
    net.iteration, net.seen = START, START * net.options.effective_batch
    return trainer(out, LAST, net, **settings)


def go_on(out, changes, **settings):
    other = network(changes, seed=5)
    return trainer(out, LAST, other, checkpoint=read(out / "micro.ckpt"), **settings)


def run_until(run, iteration):
    """Runs as if a signal came after that iteration."""

    def report(progress):
        if progress.iteration >= iteration:
            run.stop.signal = 2

    run.report = report
    run.run()
    assert run.net.iteration == iteration
    return run


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_n_and_n_is_2n(tmp_path, changes):
    whole = run_until(begin(tmp_path / "whole", changes), END)
    wanted = read(tmp_path / "whole" / "micro.ckpt").state
    for at in (1001, 1007, 1013):
        first = run_until(begin(tmp_path / str(at), changes), at)
        second = run_until(go_on(tmp_path / str(at), changes), END)
        assert_same(whole, second)
        assert whole.given == first.given + second.given
        state = read(tmp_path / str(at) / "micro.ckpt").state
        for key in ("position", "seen", "booked", "start", "cfg"):
            assert state[key] == wanted[key]


def test_broken_off_within_an_iteration(tmp_path):
    """An error between two mini-batches undoes the first; its images come again."""

    def report(progress):
        if progress.iteration == 1008 and progress.mini_batch == 1:
            raise Killed

    whole = run_until(begin(tmp_path / "whole", ()), END)
    first = begin(tmp_path / "parts", (), report=report)
    with pytest.raises(Killed):
        first.run()
    second = run_until(go_on(tmp_path / "parts", ()), END)
    assert_same(whole, second)
    assert whole.given == first.given[: 8 * 4] + second.given


def test_what_is_random_differs_from_iteration_to_iteration_and_seed_to_seed(tmp_path):
    """Otherwise equal runs would prove nothing."""
    one = run_until(begin(tmp_path / "a", ()), 1003)
    two = run_until(begin(tmp_path / "b", (), seed=1), 1003)
    assert not torch.equal(tensors(one)["net.layers.0.weight"], tensors(two)["net.layers.0.weight"])


def test_a_checkpoint_holds_everything(tmp_path):
    run = run_until(begin(tmp_path, CHANGES["average"]), 1007)
    found = read(tmp_path / "micro.ckpt")
    kinds = {name.partition(".")[0] for name in found.tensors}
    assert kinds == {"net", "update", "average", "metrics"}
    assert {"net.layers.0.rolling_mean", "update.layers.0.weight"} <= found.tensors.keys()
    assert len(found.tensors["metrics"]) == 7
    assert found.state["cfg"].startswith("[net]") and found.state["versions"]["torch"]
    assert found.state["position"] == run.position == 1007 * 4


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    run_until(begin(tmp_path, ()), 1001)
    with pytest.raises(CheckpointError, match="does not fit"):
        go_on(tmp_path, (("filters=8", "filters=9"),))


@pytest.mark.parametrize("key", ["iteration", "progress", "columns", "start"])
def test_a_checkpoint_without_a_part_is_an_error_of_its_own(tmp_path, key):
    run_until(begin(tmp_path, ()), 1001)
    found = read(tmp_path / "micro.ckpt")
    found.state[key] = None
    write(tmp_path / "micro.ckpt", found)
    with pytest.raises(CheckpointError):
        go_on(tmp_path, ())

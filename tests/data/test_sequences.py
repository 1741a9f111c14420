"""track=1: consecutive frames, stream by stream, whatever makes the batches."""

from functools import partial

import numpy as np
import pytest
import torch

from yolo.cfg import CfgError, parse
from yolo.data import Augment, DataError, Loader
from yolo.data.sample import Sample
from yolo.data.sequences import Sequences
from yolo.job.refusals import refuse
from yolo.network import Network

NET = "[net]\nwidth=32\nheight=32\nchannels=3\nbatch=4\nsubdivisions=2\ntime_steps=3\ntrack=1\n"
CRNN = (
    "[conv]\nfilters=4\nsize=3\nstride=8\npad=1\nactivation=leaky\n"
    "[crnn]\nsize=3\npad=1\noutput=4\nhidden=4\nactivation=leaky\n"
    "[conv_lstm]\nsize=3\npad=1\noutput=4\n"
    "[conv]\nfilters=6\nactivation=linear\n"
    "[yolo]\nclasses=1\nnum=1\nmask=0\nanchors=12,12\n"
)


class Frames:
    """Frame k of a film of 50: as bright as k, with a box in the middle."""

    names, classes = None, 1

    def __len__(self):
        return 50

    def load(self, index):
        image = np.full((32, 32, 3), 4 * index, np.uint8)
        return Sample(image, np.array([(0, 0.5, 0.5, 0.5, 0.5)], np.float32), f"{index}")


def options(*keys):
    return Network(parse(NET + "".join(f"{key}\n" for key in keys) + CRNN)).options


def frames(found, count, **more):
    """(mini-batch, step, stream) frame numbers."""
    order = partial(Sequences, found)
    with Loader(Frames(), 6, 32, 32, workers=0, order=order, **more) as loader:
        paths = [next(loader).paths for _ in range(count)]
    return np.array(paths, int).reshape(count, found.time_steps, -1)


def test_streams_go_on_at_one_speed():
    found = frames(options("augment_speed=3"), 40)
    speeds = np.diff(found, axis=1) % 50
    assert speeds.shape == (40, 2, 2)
    assert (speeds == speeds[:, :1, :1]).all()
    assert set(speeds.flatten()) == {1, 2, 3}
    assert len(np.unique(found[:, 0])) > 25  # each begins somewhere else


def test_a_sequence_lasts_over_mini_batches_where_asked():
    found = frames(options("augment_speed=1", "sequential_subdivisions=1"), 8)
    halves = found.reshape(4, 6, 2)  # two mini-batches of an iteration go on in each other
    assert (np.diff(halves, axis=1) % 50 == 1).all()
    assert not (np.diff(found.reshape(24, 2), axis=0) % 50 == 1).all()
    assert options("sequential_subdivisions=1").sequence(0) == 2
    assert options().sequence(0) == 1
    changing = options("policy=steps", "steps=10,20", "scales=.1,.1", "seq_scales=0.5,4")
    assert [changing.sequence(i) for i in (0, 9, 10, 19, 20)] == [1, 1, 2, 2, 1]


def test_a_run_that_goes_on_sees_what_comes_next():
    settings = options("sequential_subdivisions=1")
    whole = frames(settings, 7)
    later = frames(settings, 4, start=18, number=3)
    np.testing.assert_array_equal(later, whole[3:])


def test_every_frame_of_a_sequence_is_varied_alike():
    order, augment = partial(Sequences, options()), Augment(exposure=3.0, flip=True, jitter=0.2)
    with Loader(Frames(), 6, 32, 32, augment=augment, workers=0, order=order) as loader:
        for batch, _ in zip(loader, range(5), strict=False):
            boxes = batch.boxes[:, 2:].reshape(6, 4)
            assert torch.equal(boxes, boxes[:1].expand(6, 4))


def test_what_does_not_go_together_is_refused():
    with pytest.raises(CfgError, match="mosaic=1 does not go with track=1"):
        refuse(Network(parse(NET + "mosaic=1\n" + CRNN)))
    refuse(Network(parse(NET + CRNN)))
    shards = Frames()
    shards.order = None.__class__
    with pytest.raises(DataError, match="shards hold single images"):
        Loader(shards, 6, 32, 32, order=partial(Sequences, options()))


def test_a_recurrent_detector_trains_on_a_film(tmp_path):
    from yolo.train import Plan, Trainer

    net = Network(parse(NET + "learning_rate=0.01\nmax_batches=12\n" + CRNN), seed=1)
    losses = []

    def batches(position, number, sizes):
        order = partial(Sequences, net.options)
        return Loader(Frames(), 6, 32, 32, workers=0, start=position, number=number, sizes=sizes,
                      order=order)  # fmt: skip

    plan = Plan(tmp_path, "film")
    Trainer(
        net, batches, plan, report=lambda p: losses.append(p.loss) if not p.mini_batch else 0
    ).run()
    assert len(losses) == 12 and np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])

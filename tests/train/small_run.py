"""A training small enough for milliseconds: a network, batches that follow from their position,
and the runs that tests compare. Run as a program it is a server that forks such runs, for tests
that kill them: a line of JSON each."""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from yolo import cfg, plot, ranks
from yolo.data import Batch
from yolo.network import Network
from yolo.train import Plan, Trainer

MICRO = """
[net]
batch=4
subdivisions=2
width=32
height=32
channels=3
learning_rate=0.01
max_batches=100
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
filters=7
size=1
activation=linear
[yolo]
mask=0
anchors=12,12
num=1
classes=2
random=0
"""


class Batches:
    """This rank's share of mini-batches as a Loader would give them: each image follows from its
    position alone.

    spoil: positions of images that are NaN. `given`: positions handed out, in order.
    """

    def __init__(self, position, number, sizes, spoil=(), given=None):
        self.position, self.number, self.sizes, self.spoil = position, number, sizes, spoil
        self.waited, self.skipped, self.closed = 0.0, 0, False
        self.given = [] if given is None else given

    def __next__(self):
        count, height, width = self.sizes(self.number)
        images, boxes = np.empty((count, 3, height, width), np.float32), []
        start, stop = ranks.mine(count)
        for i in range(start, stop):
            rng = np.random.default_rng(self.position + i)
            images[i] = rng.random((3, height, width), np.float32)
            boxes.append([i - start, rng.integers(2), *rng.uniform(0.3, 0.6, 4)])
            if self.position + i in self.spoil:
                images[i, 0, 0, 0] = np.nan
        self.given += range(self.position + start, self.position + stop)
        self.position += count
        self.number += 1
        paths = [f"{position}.jpg" for position in self.given[start - stop :]]
        boxes = torch.tensor(boxes, dtype=torch.float32)
        return Batch(torch.from_numpy(images[start:stop]), boxes, paths, whole=count)

    def close(self):
        self.closed = True


def network(changes=(), seed=0):
    """The network, with (old, new) replaced in its cfg."""
    text = MICRO
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return Network(cfg.parse(text), seed)


def trainer(out, iterations=20, net=None, spoil=(), checkpoint=None, **settings):
    """A Trainer over such batches; `given` collects the positions that it was handed."""
    net = net or network()
    net.options.max_batches = iterations
    given = []
    hooks = {key: settings.pop(key) for key in ("report", "say", "measure") if key in settings}
    made = Trainer(
        net,
        lambda *where: Batches(*where, spoil=spoil, given=given),
        Plan(Path(out), "micro", **settings),
        checkpoint=checkpoint,
        **hooks,
    )
    made.given = given
    return made


def tensors(run):
    """Everything that must be equal after equal runs: weights, statistics, momentum, average,
    metrics without its times."""
    from yolo.train.progress import TIMES
    from yolo.train.state import tensors

    found = tensors(run)
    table = run.output.metrics.table
    found["metrics"] = torch.tensor([list(v) for k, v in table.items() if k not in TIMES])
    return found


def assert_same(one, two):
    """Bit for bit, NaN being equal to NaN."""
    one, two = tensors(one), tensors(two)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(torch.nan_to_num(tensor, 7e7), torch.nan_to_num(two[name], 7e7)), name


def serve():
    """Forks a run for each line {"out", "iterations", "keep"} and answers with its process id,
    then, once it has ended, with its exit status. A run goes on from the newest checkpoint."""
    torch.set_num_threads(1)
    plot.chart = lambda *_, **__: None  # drawing would take longer than all the rest
    with tempfile.TemporaryDirectory() as folder:
        trainer(folder, 1).run()  # loads what every run would load again
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            go_on(**job)
            os._exit(0)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


def go_on(out, iterations, keep):
    """A run that saves after every iteration."""
    from yolo.checkpoint import Series

    found = Series(out, "micro").newest(print)
    settings = dict(keep=keep, save_last_every=1, save_every=10**9)
    net = network((("random=0", "random=1"), ("learning_rate=0.01", "learning_rate=0.001")))
    trainer(out, iterations, net, checkpoint=found and found[1], **settings).run()


if __name__ == "__main__":
    serve()

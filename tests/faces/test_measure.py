"""Measures of a stage against counting by hand."""

import numpy as np
import pytest
import torch

from yolo.cfg import read
from yolo.data.faces.boxes import FaceBoxes
from yolo.data.sample import Sample
from yolo.faces import measure
from yolo.network import Network


class Pictures:
    """One image: a face of 50 pixels, one of 30, one that is not clear."""

    boxes = np.array([[10.0, 10, 60, 60], [80, 80, 110, 110], [100, 10, 160, 70]])

    def __len__(self):
        return 1

    def load(self, index):
        faces = FaceBoxes(self.boxes, np.full((3, 5, 2), np.nan), np.array([True, True, False]))
        return np.zeros((180, 200, 3), np.uint8), faces, "a.jpg"


@pytest.fixture
def pnet(cfg_folder):
    return Network(read(cfg_folder / "pnet.cfg"))


@pytest.mark.parametrize(("above", "truths", "found"), [(40, 1, 1), (20, 2, 1), (70, 0, 0)])
def test_faces_that_count(pnet, monkeypatch, above, truths, found):
    proposals = torch.tensor([[35.0, 34, 48, 50], [150, 150, 40, 40]])
    monkeypatch.setattr(measure, "surest", lambda *_: proposals)
    result = measure.recall(pnet, Pictures(), above=above)
    assert (result.images, result.truths, result.found) == (1, truths, found)
    assert result.score == (found / truths if truths else 0)


def test_the_network_stays_as_it_is(pnet):
    pnet.train()
    result = measure.recall(pnet, Pictures(), proposals=3)
    assert pnet.input_shape == (3, 12, 12) and pnet.training
    assert result.proposals <= 3


class Samples:
    """Three faces and two that are none; a part counts in neither."""

    kinds = (1, 0, 1, 2, 0, 1)

    def __len__(self):
        return len(self.kinds)

    def __getitem__(self, n):
        labels = np.array([self.kinds[n], 0, 0, 0, 0], np.float32)
        return Sample(np.full((12, 12, 3), 40 * n, np.uint8), np.zeros((0, 5)), "", labels=labels)


def test_accuracy(pnet, monkeypatch):
    """A stage that takes what is brighter than 100 of 255 for a face, its window for the box."""

    class Stage(torch.nn.Linear):
        def forward(self, x):
            face = (x.mean((1, 2, 3)) > 100 / 255).float()
            return [torch.stack((1 - face, face, *[face * 0] * 4), 1)[:, :, None, None]]

    monkeypatch.setattr(Network, "fused", lambda self: Stage(1, 1))
    result = measure.judge(pnet, Samples())
    assert (result.samples, result.right, result.boxes) == (5, 2, 3)
    assert result.overlap == pytest.approx(3) and result.windows == pytest.approx(3)

"""Boxes after the crop: which are left, how many, in which order."""

import numpy as np

from yolo.data.augment import Augment
from yolo.data.augment.place import clip
from yolo.data.sample import Sample


def test_slivers_and_small_boxes_are_dropped():
    window = (0, 0, 100, 100)
    edges = np.array([
        (-95.0, 10, 5, 60),  # a twentieth is left
        (-40.0, 10, 60, 60),  # three fifths
        (50.0, 50, 50.5, 80),  # half a pixel wide
        (120.0, 10, 160, 60),  # outside
    ])  # fmt: skip
    kept, cut = clip(edges, window, 0.1)
    assert kept.tolist() == [False, True, False, False]
    np.testing.assert_array_equal(cut, [[0, 10, 60, 60]])


def test_at_most_max_boxes_survive_and_their_order_is_drawn():
    boxes = np.array([(k, 0.5, 0.5, 0.2, 0.2) for k in range(10)], np.float32)
    sample = Sample(np.zeros((50, 50, 3), np.uint8), boxes, "")
    firsts = set()
    for seed in range(20):
        result = Augment(max_boxes=4).make([sample], (32, 32), np.random.default_rng(seed))
        assert len(set(result.boxes[:, 0])) == 4
        firsts.add(result.boxes[0, 0])
    assert len(firsts) > 4

import numpy as np
import pytest

from yolo.data import DataError
from yolo.data.anchors import average_iou, fit_anchors, overlaps


def test_overlap_of_centred_boxes_by_hand():
    found = overlaps(np.array([[2.0, 2.0]]), np.array([[2.0, 2.0], [4.0, 1.0], [1.0, 1.0]]))
    np.testing.assert_allclose(found, [[1, 2 / 6, 1 / 4]])


def test_finds_clear_clusters_in_order_of_area():
    rng = np.random.default_rng(1)
    true = np.array([[10.0, 12.0], [40.0, 30.0], [90.0, 120.0]])
    sizes = np.concatenate([c * rng.uniform(0.95, 1.05, (50, 2)) for c in true])
    anchors = fit_anchors(sizes, 3)
    np.testing.assert_allclose(anchors, true, rtol=0.03)
    assert average_iou(sizes, anchors) > 0.9
    assert average_iou(sizes, anchors) > average_iou(sizes, true * 1.3)


def test_same_seed_same_anchors():
    sizes = np.random.default_rng(2).uniform(5, 100, (200, 2))
    np.testing.assert_array_equal(fit_anchors(sizes, 6, seed=3), fit_anchors(sizes, 6, seed=3))


def test_too_few_boxes_are_refused():
    with pytest.raises(DataError, match="6 anchors"):
        fit_anchors(np.ones((20, 2)), 6)

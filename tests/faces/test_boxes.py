"""Cells, suppression and squares by hand and by brute force."""

import numpy as np
import pytest

from yolo.faces import boxes


def test_cells_are_windows_of_twelve_pixels():
    scores = np.zeros((3, 4))
    scores[0, 0], scores[2, 3], scores[1, 1] = 0.6, 0.9, 0.59
    rows, columns, found = boxes.cells(scores, 0.6, 1.0)
    assert rows.tolist() == [0, 2] and columns.tolist() == [0, 3]
    assert found.tolist() == [[0, 0, 12, 12], [6, 4, 18, 16]]
    assert boxes.cells(scores, 0.6, 0.5)[2].tolist() == [[1, 1, 24, 24], [13, 9, 36, 32]]


def overlap(a, b, over):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    shared = width * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    one, two = ((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return shared / (min(one, two) if over == "smaller" else one + two - shared)


@pytest.mark.parametrize("over", ["union", "smaller"])
@pytest.mark.parametrize("thresh", [0.3, 0.7])
def test_suppression(over, thresh):
    rng = np.random.default_rng(1)
    corner, side = rng.uniform(0, 50, (60, 2)), rng.uniform(10, 40, (60, 2))
    found, scores = np.hstack((corner, corner + side)), rng.random(60)
    kept = []
    for n in sorted(range(60), key=lambda n: -scores[n]):
        if all(overlap(found[n], found[k], over) <= thresh for k in kept):
            kept.append(n)
    assert boxes.suppress(found, scores, thresh, over).tolist() == kept
    assert 1 < len(kept) < 60


def test_no_boxes():
    none = np.zeros((0, 4))
    assert boxes.suppress(none, np.zeros(0), 0.5).tolist() == []
    assert boxes.squares(none).shape == (0, 4) and boxes.moved(none, none).shape == (0, 4)


def test_squares_and_moved_edges():
    found = np.array([[10.0, 20, 20, 60], [0, 0, 8, 4]])
    assert boxes.squares(found).tolist() == [[-5, 20, 35, 60], [0, -2, 8, 6]]
    offsets = np.array([[0.1, -0.5, 0.2, 0.25], [0, 0, 0, 0]])
    assert boxes.moved(found, offsets).tolist() == [[11, 0, 22, 70], [0, 0, 8, 4]]

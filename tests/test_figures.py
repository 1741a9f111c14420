"""Figures are written whole, whatever the names and however little there is to show."""

import cv2
import numpy as np
import pytest

from yolo import figures
from yolo.data.inspection import ASPECTS, SIDES, Census


class Found:
    path, unlabelled, errors = "a", False, ()

    def __init__(self, boxes):
        self.boxes = np.array(boxes, np.float32).reshape(-1, 5)


@pytest.mark.parametrize("boxes", [[], [[2, 0.5, 0.5, 0.3, 0.1], [0, 0.5, 0.5, 1, 1e-7]]])
@pytest.mark.parametrize("names", [None, ["$x^", "neue\nZeile", "größe"]])
def test_census(tmp_path, boxes, names):
    census = Census((416, 416))
    census.add(Found(boxes))
    path = tmp_path / "a.png"
    figures.census({"train": census, "valid": Census((416, 416))}, names, SIDES, ASPECTS, path)
    image = cv2.imread(str(path))
    assert image.std() > 5 and [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("before", [None, np.array([[30.0, 40.0]])])
def test_clusters(tmp_path, before):
    sizes = np.random.default_rng(0).uniform(5, 200, (50, 2))
    anchors = np.array([[20.0, 30.0], [100.0, 90.0]])
    figures.clusters(sizes, anchors, before, (416, 416), tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png")).std() > 5


@pytest.mark.parametrize("classes", [2, 40])
def test_precision_recall_where_a_class_has_nothing(tmp_path, classes):
    curve = np.array([1.0, 0.5, 2 / 3]), np.array([0.5, 0.5, 1.0])
    curves = [curve, (np.zeros(0), np.zeros(0))] + [None] * (classes - 2)
    figures.precision_recall(curves, ["$a"], tmp_path / "a.png", "title")
    figures.precision_recall([None], None, tmp_path / "b.png")
    assert cv2.imread(str(tmp_path / "a.png")).std() > 5


@pytest.mark.parametrize("classes", [1, 30])
def test_confusion(tmp_path, classes):
    counts = np.eye(classes + 1, dtype=int)
    figures.confusion(counts, None, tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png")).std() > 5

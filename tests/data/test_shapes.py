"""Drawn shapes: the same picture again, and boxes that end where the pixels end."""

import numpy as np
import pytest

from yolo.data import shapes
from yolo.data.lists import DataError
from yolo.data.shapes import ShapesDataset, class_names, painted


def cover(items, size):
    """Share of each pixel that is covered, measured on paint over black and over white."""
    black, white = (np.full((*size, 3), level, np.uint8) for level in (0, 255))
    through = painted(white, items, shadows=False).astype(int) - painted(
        black, items, shadows=False
    )
    return 1 - through.mean(axis=2) / 255


def extent(mask):
    rows, columns = np.where(mask)
    return np.array((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))


@pytest.mark.parametrize("size", [(256, 256), (160, 224)])
def test_boxes_are_the_extent_of_what_is_seen(size):
    dataset = ShapesDataset(10, 40, size, seed=5)
    exact = total = 0
    for index in range(40):
        _, items, _ = dataset.scene(index)
        boxes = dataset.load(index).boxes
        assert len(boxes) == len(items)
        for k, (label, x, y, w, h) in enumerate(boxes):
            assert label == items[k].label
            seen = (cover(items[k:], size) >= 0.5) & (cover(items[k + 1 :], size) < 0.5)
            scale = np.tile(size[::-1], 2)
            box = np.array((x - w / 2, y - h / 2, x + w / 2, y + h / 2)) * scale
            distance = np.abs(box - extent(seen)).max()
            assert distance <= 1 + 1e-4  # where two soft edges meet, one pixel may belong to either
            exact += distance < 1e-3
            total += 1
    assert total > 60 and exact >= 0.95 * total


def test_an_image_follows_from_seed_split_and_index():
    first, again = (ShapesDataset(12, 5, 96, seed=3).load(4) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    for other in (dict(seed=4), dict(split="valid")):
        changed = ShapesDataset(12, 5, 96, **{"seed": 3, **other}).load(4)
        assert not np.array_equal(changed.image, first.image)


def test_names_and_numbers_of_classes():
    assert class_names(3) == ["red circle", "blue square", "yellow triangle"]
    assert len(set(class_names(80))) == 80 and class_names(11)[10] == "green circle"
    for classes in (0, 81):
        with pytest.raises(DataError, match="1 to 80 classes"):
            class_names(classes)


@pytest.mark.parametrize("classes", [1, 10, 11, 25, 80])
def test_every_class_is_drawn(classes):
    dataset = ShapesDataset(classes, 40 + 12 * classes, 64)
    labels = [item.label for i in range(len(dataset)) for item in dataset.scene(i)[1]]
    assert set(labels) == set(range(classes)) and len(dataset.names) == classes


def test_objects_lie_inside_and_most_of_each_is_seen():
    dataset = ShapesDataset(10, 60, 128)
    counts = []
    for index in range(60):
        sample = dataset.load(index)
        assert sample.image.shape == (128, 128, 3) and sample.image.dtype == np.uint8
        x, y, w, h = sample.boxes[:, 1:].T
        assert (x - w / 2 >= 0).all() and (x + w / 2 <= 1).all()
        assert (y - h / 2 >= 0).all() and (y + h / 2 <= 1).all()
        counts.append(len(sample.boxes))
        _, items, _ = dataset.scene(index)
        for k, item in enumerate(items):
            whole = cover([item], (128, 128)) >= 0.5
            hidden = whole & (cover(items[k + 1 :], (128, 128)) >= 0.5)
            assert hidden.sum() <= (1 - shapes.SEEN) * whole.sum() + 12
    assert min(counts) >= 1 and max(counts) == shapes.OBJECTS


@pytest.mark.parametrize("size", [(16, 16), (33, 70), (608, 320)])
def test_any_size(size):
    sample = ShapesDataset(10, 5, size).load(0)
    assert sample.image.shape == (*size, 3)


def test_wrong_use_is_refused():
    with pytest.raises(DataError, match="expected one of train, valid"):
        ShapesDataset(split="test")
    with pytest.raises(IndexError):
        ShapesDataset(length=3).load(3)

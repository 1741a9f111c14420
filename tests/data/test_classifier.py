"""Labels that stand in paths, as Darknet reads them."""

import cv2
import numpy as np
import pytest

from yolo.data import ClassifierDataset, DataError, LabelError, ShapeClasses, ShapesDataset


@pytest.fixture
def folder(tmp_path):
    """A classifier's files: three classes, four images."""
    for name in ("cat/1.png", "dog/2.png", "dog/3.png", "bird/4.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((20, 30, 3), 90, np.uint8))
    (tmp_path / "labels.txt").write_text("cat/\ndog/\nbird/\n")
    (tmp_path / "names.txt").write_text("Cat\nDog\nBird\n")
    (tmp_path / "train.txt").write_text(
        "images/cat/1.png\nimages/dog/2.png\nimages/dog/3.png\nimages/bird/4.png\n"
    )
    (tmp_path / "c.data").write_text(
        "train = train.txt\nlabels = labels.txt\nnames = names.txt\ntop = 2\n"
    )
    return tmp_path


def test_the_label_stands_in_the_path(folder):
    dataset = ClassifierDataset.from_data(folder / "c.data")
    assert dataset.names == ["Cat", "Dog", "Bird"] and dataset.classes == 3
    labels = np.stack([dataset[n].labels for n in range(4)])
    np.testing.assert_array_equal(labels, np.eye(3)[[0, 1, 1, 2]])
    assert labels.dtype == np.float32
    assert dataset[0].image.shape == (20, 30, 3) and dataset[0].boxes.shape == (0, 5)


def test_names_serve_where_there_are_no_labels(folder):
    (folder / "names.txt").write_text("cat\ndog\nbird\n")
    (folder / "c.data").write_text("train = train.txt\nnames = names.txt\n")
    dataset = ClassifierDataset.from_data(folder / "c.data")
    assert [int(dataset[n].labels.argmax()) for n in range(4)] == [0, 1, 1, 2]


def test_smoothed_labels(folder):
    dataset = ClassifierDataset.from_data(folder / "c.data", smooth=0.1)
    np.testing.assert_allclose(dataset[1].labels, [0.05, 0.9, 0.05])


def test_several_labels_in_a_path_all_count_and_are_said(folder):
    (folder / "train.txt").write_text("images/cat/../dog/2.png\n")
    sample = ClassifierDataset.from_data(folder / "c.data")[0]
    assert sample.labels.tolist() == [1, 1, 0]
    (text,) = sample.repairs
    assert "train.txt:1: 2 labels in one path: cat/, dog/" in text


def test_the_folders_around_the_list_do_not_count(folder):
    """Only what the list spells: the data set may lie in a folder called dog."""
    home = folder / "dog" / "set"
    home.mkdir(parents=True)
    cv2.imwrite(str(home / "cat1.png"), np.zeros((5, 5, 3), np.uint8))
    (home / "labels.txt").write_text("cat\ndog\n")
    (home / "train.txt").write_text("cat1.png\n")
    (home / "c.data").write_text("train = train.txt\nlabels = labels.txt\n")
    assert ClassifierDataset.from_data(home / "c.data")[0].labels.tolist() == [1, 0]


def test_an_image_without_a_label_cannot_be_used(folder):
    (folder / "train.txt").write_text("images/cat/1.png\nnames.txt\n")
    dataset = ClassifierDataset.from_data(folder / "c.data")
    with pytest.raises(LabelError, match=r"train.txt:2: names.txt holds none of the 3 labels"):
        dataset[1]
    with pytest.raises(DataError, match="1 of 2 images looked at are broken"):
        dataset.check()


def test_a_look_at_a_good_set(folder):
    found = ClassifierDataset.from_data(folder / "c.data").check()
    assert (found.images, found.broken, found.repairs) == (4, [], [])


@pytest.mark.parametrize(("file", "text", "message"), [
    ("labels.txt", "cat\n\nbird\n", r"labels.txt:2: an empty label fits every path"),
    ("labels.txt", "", r"labels.txt: no label in this list"),
    ("names.txt", "Cat\n", r"c.data:3: 1 names, but 3 labels"),
    ("c.data", "train = train.txt\n", r"c.data: has no value for 'labels'"),
])  # fmt: skip
def test_files_that_make_no_sense_are_refused(folder, file, text, message):
    (folder / file).write_text(text)
    with pytest.raises(DataError, match=message):
        ClassifierDataset.from_data(folder / "c.data")


def test_drawn_shapes_one_in_each_image():
    dataset = ShapeClasses(5, 20, 64)
    labels = np.stack([dataset[n].labels for n in range(20)])
    assert (labels.sum(1) == 1).all() and len(set(labels.argmax(1))) == 5
    sample = dataset[3]
    scene = ShapesDataset.load(dataset, 3)
    assert len(scene.boxes) == 1 and scene.boxes[0, 0] == sample.labels.argmax()
    assert scene.boxes[0, 3:].max() >= 0.3

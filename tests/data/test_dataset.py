"""Data sets of files: where paths lead, what is broken, and when training would be a waste."""

import cv2
import numpy as np
import pytest

from yolo.data.dataset import Dataset
from yolo.data.image import ImageError
from yolo.data.labels import LabelError
from yolo.data.lists import DataError


def picture(path, level=100):
    """A small grey image of one level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.full((20, 30), level, np.uint8))[1].tobytes())


def make(root, count=4, listed="images/{}.png", label="0 .5 .5 .2 .2\n"):
    """A data set with images/ and labels/, its lists and its .data file."""
    (root / "labels").mkdir(parents=True)
    for k in range(count):
        picture(root / "images" / f"{k}.png", 10 * k)
        if label is not None:
            (root / "labels" / f"{k}.txt").write_text(label)
    (root / "train.txt").write_text("".join(listed.format(k) + "\n" for k in range(count)))
    (root / "n.names").write_text("cat\ndog\n")
    (root / "my.data").write_text("classes=2\ntrain=train.txt\nvalid=train.txt\nnames=n.names\n")
    return root / "my.data"


def test_a_data_file_gives_samples(tmp_path):
    dataset = Dataset.from_data(make(tmp_path))
    assert len(dataset) == 4 and dataset.classes == 2 and dataset.names == ["cat", "dog"]
    sample = dataset[3]
    assert sample.image.shape == (20, 30, 3) and (sample.image == 30).all()
    np.testing.assert_allclose(sample.boxes, [[0, 0.5, 0.5, 0.2, 0.2]])
    assert sample.path == str(tmp_path / "images" / "3.png") and not sample.unlabelled
    assert Dataset.from_data(tmp_path / "my.data", classes=7).classes == 7


@pytest.mark.parametrize(
    "listed",
    ["images/{}.png\r", "images\\{}.png\r", "  images/{}.png ", "./images/../images/{}.png"],
    ids=["crlf", "windows", "blanks", "dots"],
)
def test_spellings_of_a_list(tmp_path, listed):
    assert len(Dataset.from_data(make(tmp_path, listed=listed))[1].boxes) == 1


def test_names_with_blanks_and_of_other_alphabets(tmp_path):
    root = tmp_path / "größe 日本; x"
    dataset = Dataset.from_data(make(root, listed=str(root) + "/images/{}.png"))
    assert len(dataset[0].boxes) == 1


def test_where_relative_paths_are_seen_from(tmp_path, monkeypatch):
    folders = {name: tmp_path / name for name in ("list", "data", "here")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.chdir(folders["here"])
    (folders["list"] / "l.txt").write_text("a.png\n")
    (folders["data"] / "my.data").write_text("classes=1\ntrain=../list/l.txt\n")
    dataset = Dataset.from_data("../data/my.data")
    with pytest.raises(
        ImageError, match=r"l\.txt:1: a\.png: no such file; looked from .*list.*here"
    ):
        dataset.load(0)
    for name in ("here", "data", "list"):  # the later one counts more
        picture(folders[name] / "a.png")
        assert dataset.load(0).path == str(folders[name] / "a.png")


def test_a_missing_label_is_an_image_without_objects(tmp_path):
    dataset = Dataset.from_data(make(tmp_path))
    (tmp_path / "labels" / "1.txt").unlink()
    sample = dataset.load(1)
    assert sample.boxes.shape == (0, 5) and sample.unlabelled
    found = dataset.check()
    assert (found.images, found.boxes, len(found.unlabelled)) == (4, 3, 1)


def test_broken_files_are_named(tmp_path):
    dataset = Dataset.from_data(make(tmp_path))
    (tmp_path / "images" / "2.png").write_text("<html>")
    (tmp_path / "labels" / "3.txt").write_text("0 .5 .5 .2 .2\n5 .5 .5 .2 .2\n")
    with pytest.raises(ImageError, match=r"2\.png: not an image .*train\.txt:3"):
        dataset.load(2)
    with pytest.raises(LabelError, match=r"3\.txt:2: class 5; expected 0 to 1"):
        dataset.load(3)
    assert dataset.load(0) and dataset.load(1)


def test_check_refuses_a_tenth_of_broken_images(tmp_path):
    dataset = Dataset.from_data(make(tmp_path, count=20))
    for k in (3, 7):
        (tmp_path / "images" / f"{k}.png").write_bytes(b"")
    assert len(dataset.check().broken) == 2  # a tenth is not more than a tenth
    (tmp_path / "labels" / "9.txt").write_text("dog .5 .5 .2 .2\n")
    with pytest.raises(DataError, match=r"3 of 20 .* broken; the first: .*3\.png: 0 bytes"):
        dataset.check()
    assert len(dataset.check(limit=5).broken) == 0  # 0, 5, 10, 14 and 19


def test_check_refuses_a_set_without_labels(tmp_path):
    dataset = Dataset.from_data(make(tmp_path, label=None))
    with pytest.raises(DataError, match=r"none of 4 images.*images/0\.txt, .*labels/0\.txt"):
        dataset.check()


def test_repairs_come_with_the_sample(tmp_path):
    sample = Dataset.from_data(make(tmp_path, label="0 .5 .5 2 .2\n")).load(0)
    assert sample.boxes[0, 3] == 1 and "0.txt:1: size 2 0.2" in sample.repairs[0]


@pytest.mark.parametrize("name, images, boxes", [("bccd", 292, 3941), ("mask", 695, 3321)])
def test_real_data(shared, name, images, boxes):
    dataset = Dataset.from_data(shared / "data" / name / f"{name}.data")
    assert len(dataset) == images and dataset.classes == len(dataset.names) == 3
    assert sum(len(dataset.boxes(k)[0]) for k in range(images)) == boxes
    found = dataset.check(limit=20)
    assert found.images == 20 and found.boxes and not found.broken and not found.unlabelled

"""Faces from Darknet's labels and from WIDER-style lists; lists that are none."""

import cv2
import numpy as np
import pytest

from yolo.data import DataError, ImageError, LabelError
from yolo.data.faces import open_faces, wider

COUNTED = """0--Parade/a.jpg
2
10 20 30 40 0 0 0 0 0 0
5 6 7 8 2 0 0 1 0 0
b.jpg
0
0 0 0 0 0 0 0 0 0 0
c.jpg
2
1 2 0 5 0 0 0 0 0 0
1.5 2 3 4
"""
MARKED = """# a.jpg
10 20 30 40 11 21 0 12 22 0 13 23 0 14 24 0 15 25 0 0.9
50 60 20 20 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 0.1
# b.jpg
"""


def read(tmp_path, text):
    (tmp_path / "list.txt").write_text(text)
    return wider.read(tmp_path / "list.txt")


def test_counted(tmp_path):
    a, b, c = read(tmp_path, COUNTED)
    assert (a.name, a.line, b.name, c.name) == ("0--Parade/a.jpg", 1, "b.jpg", "c.jpg")
    assert a.faces.boxes.tolist() == [[10, 20, 40, 60], [5, 6, 12, 14]]
    assert a.faces.clear.tolist() == [True, False]
    assert np.isnan(a.faces.landmarks).all() and a.faces.landmarks.shape == (2, 5, 2)
    assert b.faces.boxes.shape == (0, 4)
    assert c.faces.boxes.tolist() == [[1.5, 2, 4.5, 6]]  # the one without area is left out


def test_marked(tmp_path):
    a, b = read(tmp_path, MARKED)
    assert a.faces.boxes.tolist() == [[10, 20, 40, 60], [50, 60, 70, 80]]
    assert a.faces.landmarks[0].tolist() == [[11, 21], [12, 22], [13, 23], [14, 24], [15, 25]]
    assert np.isnan(a.faces.landmarks[1]).all() and a.faces.clear.all()
    assert b.name == "b.jpg" and len(b.faces.boxes) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.jpg\n", r"list.txt:1: expected the number of faces"),
        ("a.jpg\nmany\n", r"list.txt:2: expected the number of faces of a.jpg, got many"),
        ("a.jpg\n99999999999\n", r"list.txt:2: expected the number"),
        ("a.jpg\n2\n1 2 3 4\n", r"list.txt:2: 2 faces, 1 lines follow"),
        ("a.jpg\n1\n1 2 3\n", r"list.txt:3: expected left, top, width, height"),
        ("# a.jpg\n1 2 nan 4\n", r"list.txt:2: expected left"),
        ("# a.jpg\n1 2 3e300 4\n", r"list.txt:2: expected left"),
    ],
)
def test_lists_that_are_none(tmp_path, text, words):
    with pytest.raises(LabelError, match=words):
        read(tmp_path, text)


def test_an_empty_list(tmp_path):
    with pytest.raises(DataError, match="no image in this list"):
        read(tmp_path, "\n\n")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.jpg"), np.full((100, 200, 3), 77, np.uint8))
    (tmp_path / "list.txt").write_text(MARKED)
    return tmp_path


def test_wider_in_a_data_file(folder):
    path = folder / "faces.data"
    path.write_text("train = list.txt\nformat = wider\nimages = images\n")
    faces = open_faces(path, "train")
    image, found, name = faces.load(0)
    assert len(faces) == 2 and image.shape == (100, 200, 3) and name.endswith("a.jpg")
    assert found.boxes[0].tolist() == [10, 20, 40, 60]
    with pytest.raises(ImageError, match=r"list.txt:4: b\.jpg: no such file"):
        faces.load(1)
    assert faces.mark(0) != faces.mark(1)


def test_darknet_in_a_data_file(folder):
    (folder / "images" / "a.txt").write_text("1 0.5 0.5 0.1 0.4\n")
    (folder / "plain.txt").write_text("images/a.jpg\n")
    (folder / "faces.data").write_text("classes = 2\ntrain = plain.txt\n")
    _, found, _ = open_faces(folder / "faces.data").load(0)
    np.testing.assert_allclose(found.boxes, [[90, 30, 110, 70]], rtol=1e-5)
    assert found.clear.all() and np.isnan(found.landmarks).all()


def test_a_format_that_is_none(folder):
    (folder / "faces.data").write_text("train = list.txt\nformat = pascal\n")
    with pytest.raises(DataError, match=r"faces\.data:2: format = pascal; expected darknet or"):
        open_faces(folder / "faces.data")

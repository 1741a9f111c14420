"""Label files: values, what is mended and what is refused, and where the files are looked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo.data import labels
from yolo.data.labels import LabelError, candidates, find


def label(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_values(tmp_path):
    boxes, repairs = labels.read(label(tmp_path, "0 .5 0.25 0.125 1\n\n 2\t1e-1 1 .5 .5  \n"), 3)
    expected = np.float32([[0, 0.5, 0.25, 0.125, 1], [2, 0.1, 1, 0.5, 0.5]])
    np.testing.assert_array_equal(boxes, expected)
    assert boxes.dtype == np.float32 and not repairs


@pytest.mark.parametrize(
    "text",
    [
        b"1 .5 .5 .2 .2\r\n0 .4 .4 .1 .1\r\n",
        b"\xef\xbb\xbf1 .5 .5 .2 .2\n0 .4 .4 .1 .1",
        b"1.000 .5 .5 .2 .2\r0 .4 .4 .1 .1\r",
    ],
    ids=["crlf", "byte order mark", "old mac"],
)
def test_files_of_other_systems(tmp_path, text):
    boxes, _ = labels.read(label(tmp_path, text), 2)
    assert boxes[:, 0].tolist() == [1, 0]


def test_an_empty_file_is_an_image_without_objects(tmp_path):
    assert labels.read(label(tmp_path, ""))[0].shape == (0, 5)


@pytest.mark.parametrize(
    "line, reason",
    [
        ("3 .5 .5 .2 .2", "class 3; expected 0 to 2"),
        ("0.5 .5 .5 .2 .2", "class 0.5"),
        ("0 .5 .5 .2", "4 values; expected 5"),
        ("0 .5 .5 .2 .2 .9", "6 values; expected 5"),
        ("dog .5 .5 .2 .2", "not a number in 'dog"),
        ("0 nan .5 .2 .2", "not a finite number"),
        ("0 .5 .5 inf .2", "not a finite number"),
        ("0 1.2 .5 .2 .2", "centre 1.2 0.5 outside"),
        ("0 0 0 .2 .2", "centre 0 0 outside"),
        ("0 320 240 64 64", "centre 320 240 outside"),
        ("0,.5,.5,.2,.2", "1 values; expected 5"),
    ],
)
def test_faults_name_file_and_line(tmp_path, line, reason):
    path = label(tmp_path, f"0 .5 .5 .2 .2\n{line}\n1 .1 .1 .1 .1\n")
    with pytest.raises(LabelError) as error:
        labels.read(path, 3)
    assert str(error.value).startswith(f"{path}:2: {reason}")
    boxes, problems = labels.inspect(path, 3)
    assert len(boxes) == 2 and [p.line for p in problems if p.fault] == [2]


@pytest.mark.parametrize(
    "line, kept",
    [
        ("0 .5 .5 1.4 .2", [0, 0.5, 0.5, 1, 0.2]),  # a side above 1 becomes 1, as in Darknet
        ("0 .5 .5 0 .2", None),
        ("0 .5 .5 .2 -.2", None),
        ("-1 .5 .5 .2 .2", None),
    ],
)
def test_repairs_are_reported(tmp_path, line, kept):
    path = label(tmp_path, line)
    boxes, repairs = labels.read(path, 3)
    np.testing.assert_allclose(boxes, np.float32([kept] if kept else np.zeros((0, 5))))
    assert str(repairs[0]).startswith(f"{path}:1: ")


def test_a_file_that_is_too_large_or_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(labels, "BYTE_LIMIT", 10)
    with pytest.raises(LabelError, match="larger than 10 bytes"):
        labels.read(label(tmp_path, "0 .5 .5 .2 .2"))
    with pytest.raises(LabelError, match="No such file"):
        labels.read(tmp_path / "gone.txt")


@settings(max_examples=200, deadline=2000)
@given(st.binary(max_size=200) | st.text("0123456789. -+einfa\n\r\t_", max_size=120))
def test_any_bytes_give_boxes_or_an_error(tmp_path_factory, content):
    path = label(tmp_path_factory.mktemp("fuzz"), content)
    try:
        boxes, _ = labels.read(path, 80)
    except LabelError as error:
        assert str(path) in str(error)
        return
    assert boxes.shape[1:] == (5,) and np.isfinite(boxes).all()
    assert ((boxes[:, 1:] > 0) & (boxes[:, 1:] <= 1)).all() and (boxes[:, 0] < 80).all()


@pytest.mark.parametrize(
    "image, first, others",
    [
        ("a/images/train2017/b.jpg", "a/labels/train2017/b.txt", ["a/images/train2017/b.txt"]),
        ("a/images/val2014/b.png", "a/labels/val2014/b.txt", []),
        ("v/JPEGImages/b.jpg", "v/labels/b.txt", ["v/JPEGImages/b.txt"]),
        ("a/images/b.jpg", "a/images/b.txt", ["a/labels/b.txt"]),
        ("images/b.jpg", "images/b.txt", ["labels/b.txt"]),
        ("/images/x/images/b.webp", "/images/x/images/b.txt", ["/images/x/labels/b.txt"]),
        ("a/myimages/b.jpg", "a/myimages/b.txt", []),
        ("a/b.c.tif", "a/b.c.txt", []),
        (r"a\images\val2017\b.jpg", r"a\labels\val2017\b.txt", ["a/labels/val2017/b.txt"]),
        (r"a\images\b.jpg", r"a\images\b.txt", [r"a\labels\b.txt", "a/labels/b.txt"]),
    ],
)
def test_candidates(image, first, others):
    found = candidates(image)
    assert found[0] == first
    assert [c for c in found if c in others] == others


def test_the_label_beside_the_image_comes_before_the_labels_folder(tmp_path):
    image = tmp_path / "images" / "b.jpg"
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    assert find(image) is None
    (tmp_path / "labels" / "b.txt").touch()
    assert find(image) == str(tmp_path / "labels" / "b.txt")
    (tmp_path / "images" / "b.txt").touch()
    assert find(image) == str(tmp_path / "images" / "b.txt")

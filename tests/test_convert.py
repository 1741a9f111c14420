"""Detections there and back: supervision, pandas, COCO, Darknet."""

import sys

import numpy as np
import pytest

from yolo import convert
from yolo.data.labels import LabelError
from yolo.detections import Detections

NAMES = ["cat", "dog", "traffic light"]


@pytest.fixture
def found():
    boxes = [[10, 20, 50, 60], [0.1, 10, 30, 190.7], [100, 40, 180, 90]]
    return Detections(boxes, [0.5, 0.9, 1 / 3], [1, 0, 2], NAMES, (200, 300), "shots/img_042.jpg")


NOTHING = Detections.empty((200, 300), NAMES, "shots/img_042.jpg")


def same(a, b, tolerance=0.0):
    """All fields but the scores and the names of what they are in."""
    np.testing.assert_allclose(a.boxes_xyxy, b.boxes_xyxy, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(a.classes, b.classes)
    assert (a.names, a.image_size, a.path) == (b.names, b.image_size, b.path)


# ---- supervision ----


def test_supervision_there_and_back(found):
    pytest.importorskip("supervision")
    for one in (found, NOTHING):
        theirs = convert.to_supervision(one)
        assert len(theirs) == len(one)
        assert theirs.data["class_name"].tolist() == one.labels.tolist()
        back = convert.from_supervision(theirs)
        same(back, one)
        np.testing.assert_array_equal(back.scores, one.scores)


def test_supervision_chooses_and_its_choice_comes_back(found):
    theirs = pytest.importorskip("supervision")
    chosen = convert.to_supervision(found)
    chosen = convert.from_supervision(chosen[chosen.confidence > 0.4])
    same(chosen, found[found.scores > 0.4])
    own = theirs.Detections(found.boxes_xyxy, class_id=found.classes)
    plain = convert.from_supervision(own, NAMES, (200, 300), found.path)
    same(plain, found)
    assert plain.scores.tolist() == [1, 1, 1]
    with pytest.raises(convert.ConversionError, match="class_id is None"):
        convert.from_supervision(theirs.Detections(found.boxes_xyxy))


# ---- pandas ----


def test_pandas_there_and_back(found):
    pytest.importorskip("pandas")
    table = convert.to_pandas(found)
    assert list(table.columns) == convert.COLUMNS
    assert table.loc[table.score > 0.4, "name"].tolist() == ["dog", "cat"]
    back = convert.from_pandas(table, NAMES, (200, 300))
    same(back, found)
    np.testing.assert_array_equal(back.scores, found.scores)
    assert len(convert.from_pandas(convert.to_pandas(NOTHING))) == 0
    assert list(convert.to_pandas([]).columns) == convert.COLUMNS


def test_a_table_of_several_images(found):
    pytest.importorskip("pandas")
    other = Detections([[1, 2, 3, 4]], [0.7], [2], NAMES, (200, 300), "b.jpg")
    table = convert.to_pandas([found, NOTHING, other])
    assert table.groupby("path").size().to_dict() == {"b.jpg": 1, "shots/img_042.jpg": 3}
    for path, rows in table.groupby("path"):
        same(convert.from_pandas(rows, NAMES, (200, 300)), other if path == "b.jpg" else found)
    with pytest.raises(convert.ConversionError, match="has 2 images"):
        convert.from_pandas(table)
    with pytest.raises(convert.ConversionError, match="no column score, x2"):
        convert.from_pandas(table.drop(columns=["score", "x2"]))


# ---- COCO ----


def test_coco_there_and_back(found):
    records = [*found.to_coco(), *NOTHING.to_coco(7), {"image_id": 8, "bbox": None}]
    back = convert.from_coco(records, 42, NAMES, (200, 300), path=found.path)
    same(back, found, 1e-5)
    np.testing.assert_allclose(back.scores, found.scores)
    ids = [5, 3, 9]
    same(
        convert.from_coco(found.to_coco(categories=ids), None, NAMES, (200, 300), ids, found.path),
        found,
        1e-5,
    )
    assert len(convert.from_coco(records, 7)) == 0


def test_annotations_are_sure_and_what_is_wrong_is_named():
    note = {"image_id": 1, "category_id": 90, "bbox": [1, 2, 3, 4], "iscrowd": 0}
    found = convert.from_coco([note])
    assert found.boxes_xyxy.tolist() == [[1, 2, 4, 6]] and found.classes.tolist() == [79]
    assert found.scores.tolist() == [1]
    for wrong, message in (
        ({"category_id": 12}, "category_id 12 is none of the 80"),
        ({"image_id": 2}, r"records of 2 images \[1, 2\]"),
    ):
        with pytest.raises(convert.ConversionError, match=message):
            convert.from_coco([note, note | wrong])
    with pytest.raises(convert.ConversionError, match=r"bbox is \[1, 2, 3\]"):
        convert.from_coco([note | {"bbox": [1, 2, 3]}])
    with pytest.raises(convert.ConversionError, match="no 'bbox'"):
        convert.from_coco([{"image_id": 1, "category_id": 1}])


# ---- Darknet ----


def test_darknet_labels_there_and_back(found, tmp_path):
    file = tmp_path / "img_042.txt"
    file.write_text(found.to_darknet_labels())
    back = convert.from_darknet_labels(file, (200, 300), NAMES, found.path)
    same(back, found, 1e-3)  # six decimals of 300 pixels
    assert back.scores.tolist() == [1, 1, 1]
    file.write_text("")
    assert len(convert.from_darknet_labels(file, (200, 300))) == 0
    file.write_text("3 0.5 0.5 0.1 0.1\n")
    with pytest.raises(LabelError, match=r"img_042\.txt:1: class 3"):
        convert.from_darknet_labels(file, (200, 300), NAMES)


# ---- packages that are not there ----


@pytest.mark.parametrize("package, call", [
    ("supervision", convert.to_supervision), ("pandas", convert.to_pandas),
])  # fmt: skip
def test_a_missing_package_is_named(found, package, call, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(convert.MissingPackage, match=f"pip install {package}"):
        call(found)

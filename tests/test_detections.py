"""Detections: validation, indexing, other forms, and what drawing changes."""

import json

import numpy as np
import pytest
import torch

from yolo.detections import COCO_CATEGORIES, Detection, Detections, class_colour

NAMES = ["cat", "dog", "traffic light"]


@pytest.fixture
def found():
    boxes = [[10, 20, 50, 60], [-5, 10, 30, 220.5], [100, 40, 180, 90]]
    return Detections(boxes, [0.5, 0.9, 0.25], [1, 0, 7], NAMES, (200, 300), "shots/img_042.jpg")


# ---- what is accepted ----


@pytest.mark.parametrize(
    "boxes, scores, classes, message",
    [
        (np.zeros((2, 5)), [1, 1], [0, 0], r"boxes_xyxy has shape \(2, 5\), expected \(N, 4\)"),
        (np.zeros(4), [1], [0], r"boxes_xyxy has shape \(4,\)"),
        (np.zeros((2, 4)), [1], [0, 0], r"scores has shape \(1,\), expected \(2,\)"),
        (np.zeros((2, 4)), [1, 1], [[0], [0]], r"classes has shape \(2, 1\), expected \(2,\)"),
        (np.zeros((1, 4)), [1], [0.5], "whole numbers"),
        (np.zeros((1, 4)), [1], [-1], r"classes\[0\] is -1"),
        (np.zeros((2, 4)), [1, np.nan], [0, 0], r"scores\[1\] is not finite"),
        ([[0, 0, np.inf, 1]], [1], [0], r"boxes_xyxy\[0\] is not finite"),
    ],
)
def test_wrong_arrays_are_refused_by_name(boxes, scores, classes, message):
    with pytest.raises(ValueError, match=message):
        Detections(boxes, scores, classes)


def test_types_are_fixed_and_tensors_welcome():
    d = Detections(torch.zeros(2, 4).double(), torch.ones(2), torch.tensor([1, 2]), NAMES, (4, 5))
    assert d.boxes_xyxy.dtype == np.float32 and d.scores.dtype == np.float32
    assert d.classes.dtype == np.int64 and d.image_size == (4, 5)


@pytest.mark.parametrize("nothing", [Detections([], [], []), Detections.empty((10, 20), NAMES)])
def test_empty(nothing):
    assert len(nothing) == 0 and nothing.boxes_xyxy.shape == (0, 4) and list(nothing) == []
    assert len(nothing[nothing.scores > 0.5]) == 0 and len(nothing.sorted()) == 0
    assert nothing.to_dict()["detections"] == [] and nothing.to_coco(1) == []
    assert nothing.darknet_json()["objects"] == []
    assert "0 in" in str(nothing)
    image = np.full((10, 20, 3), 7, np.uint8)
    np.testing.assert_array_equal(nothing.draw(image), image)


# ---- choosing ----


def test_indexing(found):
    np.testing.assert_array_equal(found[found.scores > 0.4].classes, [1, 0])
    np.testing.assert_array_equal(found[found.labels == "cat"].scores, np.float32([0.9]))
    np.testing.assert_array_equal(found[1:].classes, [0, 7])
    np.testing.assert_array_equal(found[[2, 0]].classes, [7, 1])
    np.testing.assert_array_equal(found[torch.tensor([1])].classes, [0])
    assert len(found[[]]) == 0 and found[[]].names is NAMES
    assert found[:1].path == found.path and found[:1].image_size == (200, 300)


def test_an_integer_gives_one_detection(found):
    assert found[0] == Detection("dog", 0.5, (10.0, 20.0, 50.0, 60.0), 1)
    assert found[-1].name == "class 7" and found[np.int64(1)].name == "cat"
    assert str(found[0]) == "dog 0.50 [10 20 50 60]"
    assert [entry.class_id for entry in found] == [1, 0, 7]
    with pytest.raises(IndexError):
        found[3]


def test_wrong_indices_are_refused(found):
    with pytest.raises(IndexError, match=r"mask of shape \(2,\), expected \(3,\)"):
        found[np.array([True, False])]
    with pytest.raises(IndexError, match="float64"):
        found[np.array([0.5])]
    with pytest.raises(IndexError, match="one dimension"):
        found[np.zeros((1, 3), bool)]


def test_a_selection_is_a_copy(found):
    part = found[:2]
    part.boxes_xyxy[:] = 0
    assert found.boxes_xyxy[0, 0] == 10


def test_sorted_scaled_clipped(found):
    np.testing.assert_array_equal(found.sorted().classes, [0, 1, 7])
    ties = Detections(np.zeros((3, 4)), [0.5, 0.5, 0.5], [2, 0, 1]).sorted()
    np.testing.assert_array_equal(ties.classes, [2, 0, 1])
    np.testing.assert_allclose(found.scaled((100, 600)).boxes_xyxy[0], [20, 10, 100, 30])
    np.testing.assert_allclose(found.clipped().boxes_xyxy[1], [0, 10, 30, 200])
    with pytest.raises(ValueError, match="unknown"):
        Detections([], [], []).scaled((1, 1))


# ---- other forms ----


def test_to_dict_is_plain(found):
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["image_size"] == [200, 300] and content["path"] == "shots/img_042.jpg"
    first = content["detections"][0]
    assert first["name"] == "dog" and first["class_id"] == 1
    assert first["box_xyxy"] == [10, 20, 50, 60] and abs(first["score"] - 0.5) < 1e-6


def test_darknet_json(found):
    frame = json.loads(json.dumps(found.darknet_json(frame_id=3), allow_nan=False))
    assert frame["frame_id"] == 3 and frame["filename"] == "shots/img_042.jpg"
    assert found.darknet_json(filename="x")["filename"] == "x"
    entry = frame["objects"][0]
    assert list(entry) == ["class_id", "name", "relative_coordinates", "confidence"]
    assert entry["relative_coordinates"] == {
        "center_x": 0.1,
        "center_y": 0.2,
        "width": round(40 / 300, 6),
        "height": 0.2,
    }
    assert entry["confidence"] == 0.5


def test_to_coco(found):
    first, second, third = found.to_coco()
    assert first == {"image_id": 42, "category_id": 2, "bbox": [10, 20, 40, 40], "score": 0.5}
    assert second["bbox"] == [0, 10, 30, 190]  # clipped
    assert third["category_id"] == 8
    assert found.to_coco(5, categories=range(100, 110))[0]["category_id"] == 101
    json.dumps(found.to_coco(), allow_nan=False)


def test_to_coco_says_what_is_missing(found):
    with pytest.raises(ValueError, match="give image_id"):
        Detections(found.boxes_xyxy, found.scores, found.classes, path="x.jpg").to_coco()
    with pytest.raises(ValueError, match="class 7 has no category id, 3 are known"):
        found.to_coco(1, categories=[1, 2, 3])


def test_coco_categories():
    assert len(COCO_CATEGORIES) == 80 and COCO_CATEGORIES[:12] == [*range(1, 12), 13]
    assert COCO_CATEGORIES[-1] == 90 and COCO_CATEGORIES[60] == 67


def test_text(found):
    lines = str(found).splitlines()
    assert lines[0] == "Detections: 3 in 300x200, shots/img_042.jpg"
    assert lines[1].split() == ["dog", "50%", "10.0", "20.0", "50.0", "60.0"]
    assert len({line.index("%") for line in lines[1:]}) == 1  # columns stand below each other
    assert repr(found) == "<Detections: 3 in 300x200, shots/img_042.jpg>"


# ---- drawing ----


def test_drawing_frames_the_box_and_nothing_else():
    image = np.full((200, 300, 3), 90, np.uint8)
    one = Detections([[60, 80, 180, 160]], [0.93], [1], NAMES, (200, 300))
    drawn = one.draw(image, thickness=1, labels=False)
    changed = (drawn != image).any(2)
    expected = np.zeros_like(changed)
    expected[80:161, 60:181] = True
    expected[82:159, 62:179] = False
    assert changed[80, 60:181].all() and changed[80:161, 180].all()
    assert not (changed & ~_grown(expected)).any()
    assert (image == 90).all()  # the caller's image is left alone
    np.testing.assert_array_equal(drawn[80, 120], class_colour(1))


def _grown(mask):
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return np.any(
        [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0
    )


@pytest.mark.parametrize("box", [[60, 80, 180, 160], [-20, -20, 400, 300], [0, 0, 30, 10]])
def test_labels_are_in_the_image_and_contrast_with_their_plate(box):
    image = np.full((200, 300, 3), 90, np.uint8)
    for class_id in range(12):
        one = Detections([box], [0.93], [class_id], None, (200, 300))
        with_label, without = one.draw(image), one.draw(image, labels=False)
        plate = with_label[(with_label != without).any(2)]
        assert len(plate) > 300
        brightness = plate @ np.array([0.299, 0.587, 0.114])
        assert brightness.max() - brightness.min() > 60


def test_labels_of_one_place_do_not_cover_each_other():
    image = np.full((200, 300, 3), 90, np.uint8)
    both = Detections([[60, 80, 180, 160]] * 2, [0.9, 0.8], [0, 1], NAMES, (200, 300))
    drawn = both.draw(image)
    sizes = [(drawn == class_colour(c)).all(2).sum() for c in (0, 1)]
    assert min(sizes) > 300


def test_a_copy_of_another_size_gets_scaled_boxes():
    one = Detections([[60, 80, 180, 160]], [0.93], [1], NAMES, (200, 300))
    drawn = one.draw(np.zeros((400, 600, 3), np.uint8), thickness=1, labels=False)
    rows, columns = np.nonzero(drawn.any(2))
    assert abs(rows.min() - 160) <= 1 and abs(rows.max() - 320) <= 1
    assert abs(columns.min() - 120) <= 1 and abs(columns.max() - 360) <= 1


def test_line_and_letters_grow_with_the_image():
    shares = []
    for size in (200, 2000):
        one = Detections([[0.3 * size, 0.3 * size, 0.9 * size, 0.9 * size]], [1], [1], NAMES)
        drawn = one.draw(np.zeros((size, size, 3), np.uint8))
        shares.append(drawn.any(2).mean())
    assert shares[1] > shares[0] / 4


def test_odd_images_and_boxes_can_be_drawn(found):
    assert found.draw(np.zeros((200, 300), np.uint8)).shape == (200, 300, 3)
    assert found.draw(np.zeros((200, 300, 1), np.uint8)).shape == (200, 300, 3)
    readonly = np.zeros((200, 300, 3), np.uint8)[:, ::-1]
    readonly.setflags(write=False)
    assert found.draw(readonly).any()
    far = Detections([[-1e30, -1e30, 1e30, 1e30]], [1], [0], NAMES, (8, 8))
    assert far.draw(np.zeros((8, 8, 3), np.uint8)).shape == (8, 8, 3)
    with pytest.raises(ValueError, match="float64"):
        found.draw(np.zeros((200, 300, 3)))
    with pytest.raises(ValueError, match=r"\(200, 300, 4\)"):
        found.draw(np.zeros((200, 300, 4), np.uint8))


def test_colours_are_stable_and_differ():
    colours = [class_colour(c) for c in range(20)]
    assert colours == [class_colour(c) for c in range(20)]
    distance = [np.abs(np.subtract(a, b)).sum() for i, a in enumerate(colours) for b in colours[:i]]
    assert min(distance) > 40


@pytest.mark.parametrize("name", ["\udcff\udcfe", "a\nb", "日本 🦊", "\x1b[31m", "n" * 5000, ""])
def test_names_that_are_hard_to_draw_and_print(name):
    one = Detections([[60, 80, 180, 160]], [0.93], [0], [name], (200, 300))
    assert one.draw(np.zeros((200, 300, 3), np.uint8)).any()
    text = str(one)
    assert text.encode() and text.count("\n") == 1 and "\x1b" not in text

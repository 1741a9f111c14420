"""Windows and their truth, read back from an image whose colours are its coordinates."""

import numpy as np
import pytest

from yolo.data.faces.boxes import FaceBoxes
from yolo.data.faces.sampling import draw_samples, iou, record
from yolo.data.faces.windows import crops, window
from yolo.face_kinds import FaceKind

HEIGHT, WIDTH = 200, 250
FACES = np.array([[40.0, 50, 90, 110], [150, 60, 180, 100], [100, 150, 106, 157]])
MARKS = np.array([[55, 70], [75, 70], [65, 82], [57, 95], [73, 95]], float)


def picture():
    """Red counts columns, green rows."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack((columns, rows, np.full_like(rows, 9)), 2).astype(np.uint8)


def faces():
    marks = np.full((3, 5, 2), np.nan)
    marks[0] = MARKS
    return FaceBoxes(FACES, marks, np.ones(3, bool))


@pytest.fixture(scope="module")
def samples():
    return draw_samples(picture(), faces(), 24, 10, np.random.default_rng(0))


def of(samples, kind):
    return samples[samples["kind"] == kind]


def window_of(sample):
    """(left, top, side) by the colours; needs a window inside the image."""
    image = sample["image"].astype(float)
    step = (image[:, -1, 0].mean() - image[:, 0, 0].mean()) / (image.shape[0] - 1)
    side = step * image.shape[0]
    centre = image[:, :, 0].mean() + 0.5, image[:, :, 1].mean() + 0.5
    return centre[0] - side / 2, centre[1] - side / 2, side


def overlap(a, b):
    """IoU of two boxes, by hand."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    shared = width * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def test_as_many_as_are_called_for(samples):
    """Two faces are large enough; landmarks are known of one."""
    counts = {kind: len(of(samples, kind)) for kind in FaceKind}
    assert counts == {0: 60, 1: 20, 2: 20, 3: 20}


@pytest.mark.parametrize(("kind", "low", "high"), [(1, 0.65, 1), (2, 0.4, 0.65), (3, 0.65, 1)])
def test_bands(samples, kind, low, high):
    for sample in of(samples, kind):
        x1, y1, x2, y2 = sample["box"]
        assert low <= overlap((x1, y1, 1 + x2, 1 + y2), (0, 0, 1, 1)) + 1e-6 <= high + 1e-5


def test_the_truth_says_where_the_face_is(samples):
    found = [s for s in samples if s["kind"] in (1, 2, 3) and s["image"][:, :, 2].min() == 9]
    assert len(found) > 40
    for sample in found:
        left, top, side = window_of(sample)
        edges = np.array([left, top, left + side, top + side]) + sample["box"] * side
        assert np.abs(FACES - edges).max(1).min() < 1.5
        if sample["kind"] == FaceKind.LANDMARK:
            marks = (left, top) + sample["landmarks"] * side
            assert np.abs(marks - MARKS).max() < 1.5


def test_negatives_hold_no_face(samples):
    for sample in of(samples, FaceKind.NEGATIVE):
        left, top, side = window_of(sample)
        if sample["image"][:, :, 2].min() < 9:
            continue  # beyond the image: black there
        for face in FACES:
            assert overlap((left, top, left + side, top + side), face) < 0.33
        assert not sample["box"].any()


def test_the_same_numbers_give_the_same_samples(samples):
    again = draw_samples(picture(), faces(), 24, 10, np.random.default_rng(0))
    other = draw_samples(picture(), faces(), 24, 10, np.random.default_rng(1))
    assert np.array_equal(again, samples) and not np.array_equal(other, samples)


def test_faces_that_are_not_clear_are_neither():
    unclear = faces()
    unclear.clear[:] = False
    found = draw_samples(picture(), unclear, 12, 10, np.random.default_rng(0))
    assert set(found["kind"]) == {FaceKind.NEGATIVE} and len(found) > 0


def test_without_faces_and_without_room():
    none = FaceBoxes(np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0, bool))
    found = draw_samples(picture(), none, 12, 8, np.random.default_rng(0))
    assert set(found["kind"]) == {FaceKind.NEGATIVE}
    tiny = draw_samples(picture()[:20, :20], none, 12, 8, np.random.default_rng(0))
    assert len(tiny) == 0 and tiny.dtype == record(12)


def test_overlaps():
    a, b = np.random.default_rng(0).uniform(0, 10, (2, 7, 2))
    a, b = np.hstack((a, a + 3)), np.hstack((b, b + 5))
    expected = [[overlap(x, y) for y in b] for x in a]
    np.testing.assert_allclose(iou(a, b), expected)


def test_windows_reach_beyond_the_image():
    image = picture()
    whole = window(image, -3, -2, 5, 6)
    assert whole.shape == (8, 8, 3) and not whole[:2].any() and not whole[:, :3].any()
    np.testing.assert_array_equal(whole[2:, 3:], image[:6, :5])
    np.testing.assert_array_equal(window(image, WIDTH, 0, WIDTH + 4, 4), 0)
    small = crops(image, [(10, 20, 34, 44)], 12)[0]
    assert small[0, 0, 0] in (10, 11) and small[-1, -1, 1] in (42, 43)

"""Samples on the disk: exact shares, resumed byte for byte, made anew when labels change."""

import cv2
import numpy as np
import pytest

from yolo.data import DataError, Loader
from yolo.data.faces import FaceAugment, FaceSamples, open_faces, prepare
from yolo.data.faces import samples as module
from yolo.data.faces.augment import mirrored
from yolo.face_kinds import FaceKind


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A .data file with 5 images, two to a file of samples."""
    monkeypatch.setattr(module, "GROUP", 2)
    rng = np.random.default_rng(0)
    for n in range(5):
        image = rng.integers(0, 255, (90, 120, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{n}.png"), image)
        (tmp_path / f"{n}.txt").write_text(f"{n % 2} 0.5 0.5 0.3 0.4\n")
    (tmp_path / "list.txt").write_text("".join(f"{n}.png\n" for n in range(5)))
    path = tmp_path / "faces.data"
    path.write_text("classes = 2\ntrain = list.txt\nvalid = list.txt\n")
    return path


def test_shares(data, tmp_path):
    found = prepare(open_faces(data), tmp_path / "out", 12, each=4)
    counts = found.counts()
    positives = counts[FaceKind.POSITIVE]
    assert 12 <= positives <= 20
    assert counts == {0: 3 * positives, 1: positives, 2: positives, 3: 0}
    assert len(found) == 5 * positives
    sample = found[0]
    assert sample.image.shape == (12, 12, 3) and sample.labels.shape == (15,)
    found.learn_landmarks(False)
    assert found[0].labels.shape == (5,)
    kinds = {int(found[n].labels[0]) for n in range(len(found))}
    assert kinds == {0, 1, 2}


def test_resumed_byte_for_byte(data, tmp_path):
    first = prepare(open_faces(data), tmp_path / "out", 12, each=4)
    contents = [path.read_bytes() for path in first.paths]
    assert len(contents) == 3
    times = [path.stat().st_mtime_ns for path in first.paths]
    first.paths[1].write_bytes(contents[1][:100])  # as a disk that was full leaves it
    first.paths[2].unlink()
    seen = []
    again = prepare(open_faces(data), tmp_path / "out", 12, each=4,
                    progress=lambda done, total: seen.append((done, total)))  # fmt: skip
    assert [path.read_bytes() for path in again.paths] == contents
    assert again.paths[0].stat().st_mtime_ns == times[0]
    assert seen == [(2, 5), (4, 5), (5, 5)]
    other = prepare(open_faces(data), tmp_path / "other", 12, each=4)
    assert [path.read_bytes() for path in other.paths] == contents


@pytest.mark.parametrize("what", ["seed", "size", "labels"])
def test_other_settings_lie_elsewhere(data, tmp_path, what):
    first = prepare(open_faces(data), tmp_path / "out", 12)
    if what == "labels":
        (tmp_path / "3.txt").write_text("0 0.4 0.4 0.3 0.3\n")
    other = prepare(open_faces(data), tmp_path / "out", 24 if what == "size" else 12,
                    seed=1 if what == "seed" else 0)  # fmt: skip
    assert first.paths[0].parent != other.paths[0].parent


def test_broken_images_are_named(data, tmp_path):
    (tmp_path / "1.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"1 of 2 images looked at are broken[\s\S]*1\.png"):
        prepare(open_faces(data), tmp_path / "out", 12)


def test_nothing_but_background(data, tmp_path):
    for n in range(5):
        (tmp_path / f"{n}.txt").write_text("")
    with pytest.raises(DataError, match="no face of 12 pixels or more"):
        prepare(open_faces(data), tmp_path / "out", 12)


def test_the_loader_takes_them(data, tmp_path):
    found = prepare(open_faces(data), tmp_path / "out", 12, each=4)
    augment = FaceAugment(flip=True, saturation=1.5, exposure=1.5, hue=0.1)
    batches = [next(Loader(found, 8, 12, 12, augment, workers=0, seed=3)) for _ in range(2)]
    assert batches[0].images.shape == (8, 3, 12, 12) and batches[0].truth.shape == (8, 15)
    assert (batches[0].images == batches[1].images).all()
    with pytest.raises(DataError, match="samples of 12x12 pixels, the network takes 24x24"):
        next(Loader(found, 8, 24, 24, augment, workers=0))


def test_mirrored():
    marks = np.array([[0.2, 0.3], [0.7, 0.31], [0.4, 0.5], [0.25, 0.8], [0.6, 0.81]])
    labels = np.concatenate(([3, 0.1, -0.2, 0.3, 0.05], marks[:, 0], marks[:, 1]))
    found = mirrored(labels)
    assert found[:5] == pytest.approx([3, -0.3, -0.2, -0.1, 0.05])
    assert found[5:10] == pytest.approx([0.3, 0.8, 0.6, 0.4, 0.75])
    assert found[10:] == pytest.approx([0.31, 0.3, 0.5, 0.81, 0.8])
    assert mirrored(found) == pytest.approx(labels)
    assert mirrored(labels[:5]) == pytest.approx(found[:5])


def test_an_empty_file_between_others(tmp_path):
    from yolo.data.faces.sampling import record

    some = np.zeros(4, record(12))
    some["kind"] = [0, 1, 0, 0]
    for name, values in (("a", some[:1]), ("b", some[:0]), ("c", some[1:])):
        np.save(tmp_path / f"{name}.npy", values)
    found = FaceSamples([tmp_path / f"{n}.npy" for n in "abc"], 12)
    assert [int(found[n].labels[0]) for n in range(4)] == [0, 1, 0, 0]

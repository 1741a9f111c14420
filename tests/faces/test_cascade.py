"""The three stages together: published faces, and parts against arithmetic by hand."""

import json
import threading

import numpy as np
import pytest

import yolo
from yolo.__main__ import main
from yolo.cfg import CfgError
from yolo.data import ImageError, read
from yolo.faces import LANDMARKS, Cascade
from yolo.faces.cascade import answers, propose, scales

# What ipazc/mtcnn publishes for the picture, read blue first by OpenCV; whole numbers cut off there
BOX, SCORE = (277, 90, 277 + 48, 90 + 63), 0.9985
MARKS = {
    "left_eye": (291, 117),
    "right_eye": (314, 114),
    "nose": (303, 131),
    "mouth_left": (296, 143),
    "mouth_right": (313, 141),
}


@pytest.fixture
def ivan(shared):
    return shared / "data" / "mtcnn" / "faces" / "ivan.jpg"


def test_the_published_face(finder, ivan):
    found = finder(ivan, bgr=True)
    assert len(found) == 1 and found.scores[0] == pytest.approx(SCORE, abs=0.01)
    assert found.boxes_xyxy[0] == pytest.approx(BOX, abs=1)
    sides = found.boxes_xyxy[0, 2:] - found.boxes_xyxy[0, :2]
    assert sides == pytest.approx((48, 63), abs=1)
    for name, place in zip(LANDMARKS, found.landmarks[0], strict=True):
        assert place == pytest.approx(MARKS[name], abs=1)


def test_red_first(finder, ivan):
    found = finder(read(ivan))
    assert found.scores[0] > 0.99
    assert found.landmarks[0] == pytest.approx(np.array(list(MARKS.values())), abs=1.5)


@pytest.mark.parametrize("bgr", [False, True])
def test_no_face(finder, shared, bgr):
    found = finder(shared / "data" / "mtcnn" / "faces" / "no-faces.jpg", bgr=bgr)
    assert len(found) == 0 and found.landmarks.shape == (0, 5, 2)


def test_two_faces_and_one(finder, shared):
    photos = shared / "data" / "photos"
    assert len(finder(photos / "zidane.jpg")) == 2
    assert len(finder(photos / "astronaut.png")) == 1


def test_the_last_stage_on_one_window(finder, ivan):
    """Numbers of an independent forward pass for pixels 270..332, 90..152."""
    from yolo.data.faces.windows import crops

    window = crops(read(ivan), [(270, 90, 333, 153)], 48)
    values = answers(finder.onet, window)[0, :, 0, 0]
    assert values[1] == pytest.approx(0.998, abs=0.003)
    assert 270 + 63 * values[6:11] == pytest.approx([291.3, 314.5, 303.6, 296.4, 313.5], abs=0.4)
    assert 90 + 63 * values[11:] == pytest.approx([117.2, 114.2, 130.8, 143.2, 141.6], abs=0.4)


def test_images_too_small_for_a_face(finder):
    assert len(finder(np.zeros((11, 300, 3), np.uint8))) == 0
    assert len(finder(np.full((20, 20, 3), 90, np.uint8))) == 0


def test_threads_share_the_stages(finder, ivan, shared):
    paths = [ivan, shared / "data" / "photos" / "astronaut.png"] * 2
    alone, found = [finder(path, smallest=40) for path in paths], [None] * len(paths)

    def look(n):
        found[n] = finder(paths[n], smallest=40)

    threads = [threading.Thread(target=look, args=(n,)) for n in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, found, strict=True):
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)


def test_the_pyramid():
    found = scales((100, 200), 20, 0.5)
    assert found == [0.6, 0.3, 0.15]
    assert scales((19, 200), 20, 0.5) == []


def test_proposals_answer_for_their_windows(finder, ivan):
    """A proposal's score is that of the stage on its 12 pixels of the resized image alone."""
    image = read(ivan)[60:180, 240:360].copy()
    found = propose(finder.pnet, image, 0.6, smallest=12)
    assert len(found)
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    exact = np.flatnonzero((sides == 12).all(1))  # at the scale 1 nothing is resized
    assert len(exact)
    finder.pnet.resize(12, 12)
    for n in exact:
        left, top, right, bottom = found.boxes[n].astype(int)
        value = answers(finder.pnet, image[None, top:bottom, left:right])[0, :, 0, 0]
        assert value[1] == pytest.approx(found.scores[n], abs=1e-5)
        assert value[2:6] == pytest.approx(found.offsets[n], abs=1e-4)


def test_what_does_not_fit(finder, stages, cfg_folder, ivan):
    with pytest.raises(ValueError, match="expected a number from 0 to 1"):
        finder(ivan, thresholds=(0.6, 0.7, 7))
    with pytest.raises(ValueError, match="12 pixels or more"):
        finder(ivan, smallest=0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        finder(ivan, factor=1)
    with pytest.raises(ImageError, match=r"nowhere\.jpg"):
        finder("nowhere.jpg")
    with pytest.raises(CfgError, match="P-Net must be convolutions alone"):
        Cascade(finder.rnet, finder.rnet, finder.onet)
    with pytest.raises(CfgError, match="landmarks=0: the last stage needs 5"):
        Cascade(finder.pnet, finder.rnet, finder.rnet)
    with pytest.raises(CfgError, match="ends in \\[mtcnn\\]"):
        Cascade(finder.pnet, yolo.load(cfg_folder / "bp.cfg"), finder.onet)
    with pytest.raises(CfgError, match="one answer for a window"):
        Cascade(finder.pnet, yolo.load(cfg_folder / "pnet.cfg").resize(24, 24), finder.onet)


def flags(stages):
    return [text for (cfg, values), name in zip(stages, ("pnet", "rnet", "onet"), strict=True)
            for text in (f"--{name}", str(cfg), str(values))]  # fmt: skip


def test_command(stages, ivan, tmp_path, capsys):
    out, listed = tmp_path / "drawn", tmp_path / "faces.json"
    command = [
        "faces",
        str(ivan),
        *flags(stages),
        "--bgr",
        "--out",
        str(out),
        "--json",
        str(listed),
    ]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "1 faces" in printed and "nose" in printed
    (image,) = json.loads(listed.read_text())
    assert image["filename"] == str(ivan)
    assert image["faces"][0]["box_xyxy"] == pytest.approx(BOX, abs=1)
    assert set(image["faces"][0]["landmarks"]) == set(MARKS)
    drawn, plain = read(out / "ivan.jpg").astype(int), read(ivan).astype(int)
    changed = np.abs(drawn - plain).max(2) > 60
    assert changed[85:160, 270:335].any() and not changed[300:].any()


def test_command_and_bad_input(stages, ivan, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    base = ["faces", str(tmp_path / "broken.jpg"), *flags(stages), "--no-images"]
    assert main(base) == 1
    assert "broken.jpg" in capsys.readouterr().err
    (tmp_path / "clip.mp4").write_bytes(b"")
    assert main(["faces", str(tmp_path / "clip.mp4"), *flags(stages)]) == 1
    assert "takes images" in capsys.readouterr().err
    wrong = flags(stages)
    wrong[2] = wrong[5]
    assert main(["faces", str(ivan), *wrong, "--no-images"]) == 1
    assert "rnet.npz: holds 9 layers" in capsys.readouterr().err

"""Images, folders, patterns and videos as frames."""

import cv2
import numpy as np
import pytest

from yolo.data import DataError
from yolo.data.sources import count, expand, frames


def picture(path, value):
    cv2.imwrite(str(path), np.full((20, 30, 3), value, np.uint8))
    return str(path)


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("b.png", "a [1].png", "ü c.png")):
        picture(tmp_path / name, 40 * number)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for number in range(5):
        writer.write(np.full((48, 64, 3), (0, 0, 50 * number), np.uint8))  # BGR: red grows
    writer.release()
    return str(path)


def test_a_folder_gives_its_images_by_name(folder):
    names = [path.rsplit("/", 1)[1] for path in expand([folder])]
    assert names == ["a [1].png", "b.png", "ü c.png"]


def test_a_name_with_a_bracket_is_a_file_before_it_is_a_pattern(folder):
    path = str(folder / "a [1].png")
    assert expand([path]) == [path]
    assert expand([str(folder / "*.png")]) == expand([folder])


def test_what_names_nothing_is_an_error(tmp_path):
    with pytest.raises(DataError, match="nothing matches"):
        expand([str(tmp_path / "*.jpg")])
    with pytest.raises(DataError, match="no image or video"):
        expand([tmp_path])


def test_a_broken_image_is_a_frame_with_its_error(folder):
    (folder / "b.png").write_bytes(b"not a picture")
    got = list(frames(expand([folder])))
    assert [frame.error is None for frame in got] == [True, False, True]
    assert "b.png" in str(got[1].error)
    assert got[2].image[0, 0].tolist() == [80, 80, 80]


def test_every_frame_of_a_video_in_rgb(video):
    assert count([video]) == 5
    got = list(frames([video]))
    assert [frame.number for frame in got] == list(range(5))
    assert got[0].rate == pytest.approx(10.0)
    for number, frame in enumerate(got):
        red, green, blue = frame.image.reshape(-1, 3).mean(0)
        assert red == pytest.approx(50 * number, abs=6) and green < 12 and blue < 12


def test_a_broken_video_is_one_frame_with_an_error(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"\0" * 100)
    got = list(frames([str(path), str(tmp_path / "none.mp4")]))
    assert ["no frame" in str(got[0].error), "no such file" in str(got[1].error)] == [True, True]

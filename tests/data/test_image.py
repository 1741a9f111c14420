"""Images: decoding of what people have, Darknet's resize by its formula, letterbox and back."""

import struct

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo.data import image as images
from yolo.data.header import dimensions
from yolo.data.image import ImageError, letterbox, letterboxed, read, stretch, stretched
from yolo.ops import backend


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, pixels, extension=None):
    """Writes through bytes: OpenCV's own writer cannot open every name on every system."""
    done, data = cv2.imencode(extension or path.suffix, pixels)
    assert done
    path.write_bytes(data.tobytes())
    return path


def scalar_stretch(image, height, width):
    """Darknet's formula, one value at a time in float64."""
    old_h, old_w, _ = image.shape

    def at(i, old, new):
        position = old - 1 if i == new - 1 else i * (old - 1) / (new - 1)
        low = min(int(position), max(old - 2, 0))
        return low, min(low + 1, old - 1), position - low

    out = np.empty((3, height, width))
    for y in range(height):
        y0, y1, dy = at(y, old_h, height)
        for x in range(width):
            x0, x1, dx = at(x, old_w, width)
            pixels = image.astype(np.float64) / 255
            top = (1 - dx) * pixels[y0, x0] + dx * pixels[y0, x1]
            bottom = (1 - dx) * pixels[y1, x0] + dx * pixels[y1, x1]
            out[:, y, x] = (1 - dy) * top + dy * bottom
    return out


@pytest.mark.parametrize(
    "old, new",
    [((7, 9), (12, 5)), ((16, 16), (5, 31)), ((1, 6), (4, 4)), ((6, 1), (3, 7)), ((5, 5), (1, 1))],
)
@pytest.mark.parametrize("name", ["native", "torch"])
def test_stretch_follows_the_formula(old, new, name):
    image = noise(*old)
    with backend(name):
        result = stretch(image, *new)
    assert result.dtype == np.float32 and result.flags.c_contiguous
    np.testing.assert_allclose(result, scalar_stretch(image, *new), rtol=0, atol=1e-6)


def test_stretch_of_pixels_with_fractions():
    image = noise(7, 9).astype(np.float32) + np.float32(0.25)
    np.testing.assert_allclose(stretch(image, 12, 5), scalar_stretch(image, 12, 5), atol=1e-6)
    with pytest.raises(TypeError, match="float64"):
        stretch(image.astype(np.float64), 12, 5)


def test_stretch_of_a_part():
    image = noise(40, 60)
    expected = scalar_stretch(image[5:35, 10:50], 23, 31)
    result = stretch(image[5:35, 10:50], 23, 31)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)


def test_stretch_to_the_same_size_changes_nothing():
    image = noise(13, 17)
    expected = image.transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_allclose(stretch(image, 13, 17), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    "shape, size, expected",
    [
        ((100, 200), (416, 416), (104, 0, 208, 416)),  # top, left, new height, new width
        ((200, 100), (416, 416), (0, 104, 416, 208)),
        ((480, 640), (416, 416), (52, 0, 312, 416)),
        ((3, 1000), (32, 32), (15, 0, 1, 32)),  # 0 rows by division; one is kept
        ((375, 500), (320, 608), (0, 91, 320, 426)),
    ],
)
def test_letterbox_places_as_darknet(shape, size, expected):
    place = letterboxed(shape, *size)
    assert (place.top, place.left, place.new_height, place.new_width) == expected


def test_letterbox_is_the_stretched_image_on_grey():
    image = noise(20, 50)
    canvas, place = letterbox(image, 64, 64)
    inner = canvas[:, place.top : place.top + place.new_height]
    np.testing.assert_array_equal(inner, stretch(image, place.new_height, 64))
    outside = np.delete(canvas, range(place.top, place.top + place.new_height), axis=1)
    assert outside.size and (outside == 0.5).all()


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("place", [letterboxed((375, 500), 416, 416), stretched(320, 416)])
def test_boxes_there_and_back(kind, place):
    boxes = kind(np.random.default_rng(0).uniform(0.1, 0.9, (50, 4)))
    there = place.to_input(boxes)
    back = place.to_image(there)
    np.testing.assert_allclose(np.asarray(back), np.asarray(boxes), atol=1e-12)
    assert type(there) is type(boxes)


def test_a_letterboxed_box_lies_on_its_pixels():
    image = np.zeros((300, 500, 3), np.uint8)
    image[60:180, 100:350] = 255
    canvas, place = letterbox(image, 416, 416)
    x, y, w, h = place.to_input(np.array([225 / 500, 120 / 300, 250 / 500, 120 / 300])) * 416
    rows, columns = np.where(canvas[0, place.top : place.top + place.new_height] > 0.5)
    assert abs(columns.min() - (x - w / 2)) <= 1.5 and abs(columns.max() + 1 - (x + w / 2)) <= 1.5
    rows = rows + place.top
    assert abs(rows.min() - (y - h / 2)) <= 1.5 and abs(rows.max() + 1 - (y + h / 2)) <= 1.5


def test_colours_come_as_rgb(tmp_path):
    blue = np.zeros((4, 6, 3), np.uint8)
    blue[..., 0] = 200  # BGR, as OpenCV writes
    assert read(save(tmp_path / "a.png", blue))[0, 0].tolist() == [0, 0, 200]


@pytest.mark.parametrize(
    "pixels, expected",
    [
        (np.full((4, 6), 90, np.uint8), 90),
        (np.full((4, 6), 40000, np.uint16), 156),
        (np.full((4, 6, 3), 40000, np.uint16), 156),
        (np.full((4, 6, 4), 77, np.uint8), 77),
    ],
    ids=["grey", "grey16", "rgb16", "rgba"],
)
@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_every_kind_becomes_8_bit_rgb(tmp_path, pixels, expected, extension):
    result = read(save(tmp_path / f"a{extension}", pixels))
    assert result.shape == (4, 6, 3) and result.dtype == np.uint8
    assert (result == expected).all()


def test_exif_turns_the_image(tmp_path):
    path = save(tmp_path / "a.jpg", np.zeros((10, 30, 3), np.uint8))
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)  # orientation 6: turn right
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    segment = b"\xff\xe1" + struct.pack(">H", 2 + 6 + len(tiff)) + b"Exif\0\0" + tiff
    data = path.read_bytes()
    path.write_bytes(data[:2] + segment + data[2:])
    assert read(path).shape == (30, 10, 3)


@pytest.mark.parametrize("name", ["größe 日本.png", "-leading dash.png", "semi;colon $HOME.png"])
def test_unusual_names(tmp_path, name):
    assert read(save(tmp_path / name, noise(3, 4))).shape == (3, 4, 3)


def test_write_and_read_again(tmp_path):
    image = noise(9, 11)
    images.write(tmp_path / "ü.png", image)
    np.testing.assert_array_equal(read(tmp_path / "ü.png"), image)
    with pytest.raises(ImageError, match=r"cannot be written as '\.xyz'"):
        images.write(tmp_path / "a.xyz", image)


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html><html>not found</html>")
    (tmp_path / "empty.png").touch()
    for name, reason in {
        "page.jpg": "not an image",
        "empty.png": "0 bytes",
        "gone.png": "No such file",
        "": "not a file",
        "nul\0.png": "null",
    }.items():
        with pytest.raises(ImageError, match=reason):
            read(f"{tmp_path}/{name}")


@pytest.mark.parametrize(
    "width, height, reason",
    [(60000, 60000, "60000x60000 is more than"), (40000, 10, "40000x10; sides go up to 32766")],
)
def test_size_is_checked_before_decoding(tmp_path, width, height, reason):
    path = save(tmp_path / "bomb.png", noise(4, 4))
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", width, height)
    path.write_bytes(data)
    with pytest.raises(ImageError, match=reason):
        read(path)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp", ".ppm", ".pgm", ".tiff", ".webp"])
def test_headers_state_the_size(extension):
    pixels = noise(37, 53) if extension != ".pgm" else noise(37, 53)[..., 0]
    data = cv2.imencode(extension, pixels)[1].tobytes()
    assert dimensions(data) == (37, 53)
    assert all(dimensions(data[:n]) in (None, (37, 53)) for n in range(min(len(data), 200)))


@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_files_cut_short_are_errors(tmp_path, extension, share):
    path = save(tmp_path / f"a{extension}", noise(64, 64))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError):
        read(path)


@settings(max_examples=60, deadline=2000)
@given(
    st.sampled_from([".jpg", ".png", ".bmp", ".ppm", ".tiff", ".webp"]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=12),
)
def test_damaged_bytes_give_an_image_or_an_error(tmp_path_factory, extension, changes):
    path = save(tmp_path_factory.mktemp("fuzz") / f"a{extension}", noise(8, 8))
    data = bytearray(path.read_bytes())
    for at, value in changes:
        data[at % len(data)] = value
    path.write_bytes(data)
    try:
        result = read(path)
    except ImageError:
        return
    assert result.ndim == 3 and result.shape[2] == 3 and result.dtype == np.uint8

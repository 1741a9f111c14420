"""Bodies -> pixels: forms, kinds of image, sizes, damage."""

import struct
import zlib

import cv2
import httpx
import numpy as np
import pytest

from tests.serve.small_server import encoded, picture
from yolo.data.image import decode
from yolo.serve.limits import Refusal
from yolo.serve.upload import image_part, pixels

LIMIT = 1 << 20


def form(**request):
    """(body, content type) of a form as httpx writes it."""
    made = httpx.Request("POST", "http://x", **request)
    return made.read(), made.headers["content-type"]


def refusal(body, content_type=None, limit=LIMIT):
    with pytest.raises(Refusal) as caught:
        pixels(body, content_type, limit)
    return caught.value.status, caught.value.code


@pytest.mark.parametrize("extension", [".png", ".jpg", ".bmp", ".ppm", ".webp", ".gif"])
def test_a_body_is_the_image_whatever_its_type_says(extension):
    data = encoded(picture(), extension)
    expected = decode(np.frombuffer(data, np.uint8), "x")
    for content_type in (None, "image/gif", "application/x-www-form-urlencoded"):
        np.testing.assert_array_equal(pixels(data, content_type, LIMIT), expected)


def test_the_image_of_a_form():
    image = encoded(picture())
    body, kind = form(files={"upload": ("../../etc/passwd", image)}, data={"note": "no file"})
    assert image_part(body, kind) == image
    body, kind = form(files={"other": ("b.png", b"b"), "image": ("a.png", image)})
    assert image_part(body, kind) == image


def test_content_may_hold_what_looks_like_a_mark():
    content = b"\r\n--\r\n\r\n--x\r\n--\r\n\r\n"
    body, kind = form(files={"image": ("a", content)})
    assert image_part(body, kind) == content


@pytest.mark.parametrize(
    "request_parts",
    [
        {"files": {"a": ("a.png", b"1"), "b": ("b.png", b"2")}},  # which one?
        {"files": {}, "data": {}, "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"files": {str(i): ("n", b"1") for i in range(20)} | {"image": ("n", b"2")}},
    ],
)
def test_a_form_without_one_image(request_parts):
    assert refusal(*form(**request_parts)) == (400, "bad_form")


def test_a_form_cut_short_anywhere():
    body, kind = form(files={"image": ("a.png", encoded(picture()))})
    for length in [*range(0, 200), *range(len(body) - 60, len(body) - 2)]:
        assert refusal(body[:length], kind) == (400, "bad_form"), length


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=" + 71 * "x", "; boundary=ü"])
def test_a_boundary_of_no_use(boundary):
    assert refusal(b"--\r\n\r\n\r\n----", f"multipart/form-data{boundary}") == (400, "bad_form")


def test_heads_of_parts_are_bounded():
    body = b"--x\r\nA: " + 5000 * b"y" + b"\r\n\r\ncontent\r\n--x--"
    assert refusal(body, "multipart/form-data; boundary=x") == (400, "bad_form")


def test_what_is_no_image():
    assert refusal(b"") == (400, "empty")
    assert refusal(*form(files={"image": ("a.png", b"")})) == (400, "empty")
    assert refusal(b"<svg/>") == (415, "not_an_image")
    assert refusal(encoded(picture(), ".tiff")) == (415, "not_an_image")
    assert refusal(b"\xff\xd8\xff") == (415, "not_an_image")  # a start, and no size


def test_images_cut_short_or_damaged():
    for extension in (".png", ".jpg", ".webp"):
        data = encoded(picture(), extension)
        assert refusal(data[: len(data) // 2]) == (422, "damaged"), extension


def bomb(side):
    """The start of a PNG that says it is `side` x `side`."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"\0\0\0\r" + head + struct.pack(">I", zlib.crc32(head))


def test_the_size_is_read_before_anything_is_decoded(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    for side in (1025, 40_000, 2**31 - 1):
        assert refusal(bomb(side)) == (413, "too_many_pixels"), side
    assert refusal(encoded(picture(1, 40_000), ".bmp")) == (413, "too_many_pixels")


def test_an_image_of_just_the_limit():
    assert pixels(encoded(picture(16, 64)), None, 1024).shape == (16, 64, 3)
    assert refusal(encoded(picture(16, 65)), None, 1024) == (413, "too_many_pixels")


def test_images_made_to_keep_the_decoder_busy():
    text = b"\0\0\0\2tEXta\0" + struct.pack(">I", zlib.crc32(b"tEXta\0"))
    data = encoded(picture())
    assert refusal(data[:33] + 60_000 * text + data[33:]) == (413, "too_many_chunks")
    data = encoded(picture(), ".jpg")
    scans = data[:-2] + 100 * data[data.rfind(b"\xff\xda") : -2] + data[-2:]
    assert refusal(scans, limit=48 * 60) == (413, "too_many_scans")

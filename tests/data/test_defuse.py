"""Images made to explode: what is left of them decodes as before, or they are refused."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from yolo.data.defuse import PNG, CostlyImage, defuse
from yolo.data.image import decode

LIMIT = 1 << 20


def png():
    image = np.random.default_rng(0).integers(0, 256, (48, 60, 3), np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


def pixels(data):
    return decode(np.frombuffer(data, np.uint8), "a", LIMIT)


def chunk(name, content):
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def with_chunks(data, more):
    """A PNG with more chunks behind its head, which is 33 bytes long."""
    return data[:33] + more + data[33:]


def test_what_stays_of_a_png_is_the_same_picture():
    data = png()
    gamma, turned = chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"eXIf", exif(6))
    for extra in (b"", gamma, chunk(b"sRGB", b"\0"), chunk(b"tEXt", b"a\0b"), turned):
        whole = with_chunks(data, extra)
        expected = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(pixels(whole), expected)
    assert pixels(with_chunks(data, turned)).shape == (60, 48, 3)
    assert defuse(data + b"behind the end", "a", 1, 1) == data


def exif(orientation):
    entry = struct.pack("<HHII", 0x112, 3, 1, orientation)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)


@pytest.mark.parametrize("cut", [None, -12, -20])
def test_texts_and_profiles_of_a_png_are_not_unpacked(cut):
    """Each of these chunks takes a hundredth of a megabyte, and eight megabytes unpacked."""
    text = zlib.compress(bytes(7_900_000), 9)
    more = b"".join(chunk(b"zTXt", b"k%d\0\0" % k + text) for k in range(50))
    more += chunk(b"iTXt", b"k\0\1\0\0\0" + text) + chunk(b"iCCP", b"k\0\0" + text)
    data = with_chunks(png(), more)[:cut]
    left = defuse(data, "a", 1, 1)
    assert b"zTXt" not in left and b"iTXt" not in left and b"iCCP" not in left
    assert left == png()[: len(left)]


def test_a_png_of_very_many_chunks():
    data = with_chunks(png(), 60_000 * chunk(b"tEXt", b"a\0"))
    with pytest.raises(CostlyImage, match="a: a PNG of more than 50000 chunks"):
        defuse(data, "a", 1, 1)


def test_lengths_of_chunks_that_lie():
    for length in (0xFFFFFFFF, 0x7FFFFFFF, 100_000):
        data = PNG + struct.pack(">I", length) + b"IDAT" + bytes(1000)
        assert defuse(data, "a", 1, 1) == data


def progressive(side, scans):
    """A JPEG whose last scan is there again and again."""
    image = np.zeros((side, side, 3), np.uint8)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    return data[:-2] + data[data.rfind(b"\xff\xda") : -2] * scans + data[-2:]


def test_a_jpeg_gone_over_again_and_again():
    largest, small = progressive(1024, 0), progressive(64, 500)
    assert pixels(largest).shape == (1024, 1024, 3)
    assert pixels(small).shape == (64, 64, 3)
    with pytest.raises(CostlyImage, match=r"a: .* scans"):
        pixels(progressive(1024, 5000))

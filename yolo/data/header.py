"""Size of an image from the first bytes of its file, before anything is decoded."""

import re
import struct


def dimensions(data):
    """(height, width) stated by the header of JPEG, PNG, BMP, PNM, TIFF, WebP or GIF bytes.

    `data` is bytes or a memoryview of them. None for other formats and for headers that are cut
    off or make no sense.
    """
    for magic, read in _READERS:
        if data[: len(magic)] == magic:
            try:
                size = read(data)
            except (struct.error, IndexError, ValueError):
                return None
            return size if size and min(size) > 0 else None
    return None


def cut_short(data):
    """Whether JPEG bytes end before their picture does: older OpenCV paints the rest grey.

    A scan starts with FF DA and the picture ends with FF D9; bytes behind that do no harm.
    """
    data = bytes(data)
    return data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def _jpeg(data):
    """Walks the segments to the frame header; thumbnails inside APP segments are stepped over."""
    at = 2
    while True:
        while data[at] != 0xFF:  # fill bytes between segments
            at += 1
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a segment
            continue
        if marker in (0xD9, 0xDA):  # end of image, start of scan: no frame header before it
            return None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return struct.unpack_from(">HH", data, at + 3)
        at += struct.unpack_from(">H", data, at)[0]


def _png(data):
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _bmp(data):
    if struct.unpack_from("<I", data, 14)[0] == 12:  # the header of OS/2, 16-bit sizes
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return abs(height), width  # a negative height means top row first


def _gif(data):
    width, height = struct.unpack_from("<HH", data, 6)
    return height, width


def _pnm(data):
    comment = rb"(?:\s|#[^\n]*\n)+"
    found = re.match(
        rb"P[1-6]" + comment + rb"(\d{1,9})" + comment + rb"(\d{1,9})\s", bytes(data[:4096])
    )
    return (int(found[2]), int(found[1])) if found else None


def _webp(data):
    kind = data[12:16]
    if data[8:12] != b"WEBP":
        return None
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8X":
        return (
            int.from_bytes(data[27:30], "little") + 1,
            int.from_bytes(data[24:27], "little") + 1,
        )
    return None


def _tiff(data):
    """Tags 256 (width) and 257 (height) of the first directory; 16 or 32 bits each."""
    order = "<" if data[:1] == b"I" else ">"
    at = struct.unpack_from(order + "I", data, 4)[0]
    size = {}
    for entry in range(struct.unpack_from(order + "H", data, at)[0]):
        tag, kind = struct.unpack_from(order + "HH", data, at + 2 + 12 * entry)
        if tag in (256, 257) and kind in (3, 4):
            value = struct.unpack_from(order + "HI"[kind - 3], data, at + 10 + 12 * entry)
            size[tag] = value[0]
    return (size[257], size[256]) if len(size) == 2 else None


_READERS = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"BM", _bmp),
    (b"GIF8", _gif),
    (b"RIFF", _webp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    *((b"P%d" % kind, _pnm) for kind in range(1, 7)),
)

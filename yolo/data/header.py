"""Size and kind of an image from the first bytes of its file, before anything is decoded."""

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


def sampling(data):
    """(channels, bits of each) stated by the header of JPEG, PNG, PNM or TIFF bytes: 1 is grey, 4
    of a JPEG or of a separated TIFF is CMYK. None for other formats and where it is not stated."""
    for magic, read in _SAMPLING:
        if data[: len(magic)] == magic:
            try:
                return read(data)
            except (struct.error, IndexError, ValueError):
                return None
    return None


def cut_short(data):
    """Whether JPEG bytes end before their picture does: older OpenCV paints the rest grey.

    A scan starts with FF DA and the picture ends with FF D9; bytes behind that do no harm.
    """
    data = bytes(data)
    return data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def _jpeg(data):
    frame = _jpeg_frame(data)
    return frame and struct.unpack_from(">HH", data, frame + 1)


def _jpeg_sampling(data):
    frame = _jpeg_frame(data)
    return frame and (data[frame + 5], data[frame])


def _jpeg_frame(data):
    """Where the frame header (bits, height, width, channels) stands; thumbnails inside APP
    segments are stepped over."""
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
            return at + 2
        at += struct.unpack_from(">H", data, at)[0]


def _png(data):
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _png_sampling(data):
    bits, kind = data[24], data[25]
    return {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(kind, 3), 8 if kind == 3 else bits


def _bmp(data):
    if struct.unpack_from("<I", data, 14)[0] == 12:  # the header of OS/2, 16-bit sizes
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return abs(height), width  # a negative height means top row first


def _gif(data):
    width, height = struct.unpack_from("<HH", data, 6)
    return height, width


_BLANK = rb"(?:\s|#[^\n]*\n)+"
_PNM = re.compile(rb"P([1-6])" + 2 * (_BLANK + rb"(\d{1,9})") + rb"\s")
_PNM_TOP = re.compile(_PNM.pattern[:-2] + _BLANK + rb"(\d{1,9})\s")


def _pnm(data):
    found = _PNM.match(bytes(data[:4096]))
    return (int(found[3]), int(found[2])) if found else None


def _pnm_sampling(data):
    """The largest value follows the size, but for black and white (P1, P4)."""
    if bytes(data[1:2]) in (b"1", b"4"):
        return 1, 1
    found = _PNM_TOP.match(bytes(data[:4096]))
    if not found:
        return None
    return (3 if found[1] in (b"3", b"6") else 1), (16 if int(found[4]) > 255 else 8)


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
    tags = _tiff_tags(data)
    return (tags[257], tags[256]) if {256, 257} <= set(tags) else None


def _tiff_sampling(data):
    tags = _tiff_tags(data)
    return tags.get(277, 1), tags.get(258, 1)


def _tiff_tags(data):
    """Tags 256 (width), 257 (height), 258 (bits) and 277 (channels) of the first directory; 16 or
    32 bits each, several 16-bit values behind a pointer: then the first of them."""
    order = "<" if data[:1] == b"I" else ">"
    at = struct.unpack_from(order + "I", data, 4)[0]
    tags = {}
    for entry in range(struct.unpack_from(order + "H", data, at)[0]):
        place = at + 2 + 12 * entry
        tag, kind, count = struct.unpack_from(order + "HHI", data, place)
        if tag in (256, 257, 258, 277) and kind in (3, 4):
            if kind == 3 and count > 2:
                value = struct.unpack_from(order + "I", data, place + 8)[0]
            else:
                value = place + 8
            tags[tag] = struct.unpack_from(order + "HI"[kind - 3], data, value)[0]
    return tags


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

_SAMPLING = (
    (b"\xff\xd8\xff", _jpeg_sampling),
    (b"\x89PNG\r\n\x1a\n", _png_sampling),
    (b"II*\0", _tiff_sampling),
    (b"MM\0*", _tiff_sampling),
    *((b"P%d" % kind, _pnm_sampling) for kind in range(1, 7)),
)

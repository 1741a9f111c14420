"""Images that cost far more than they show, made harmless or refused before they are decoded.

The size in the header bounds the pixels, and these get around it: texts and profiles of a PNG that
unpack to gigabytes, a JPEG whose one picture is gone over a hundred thousand times.
"""

import struct

from ..errors import YoloError

PNG = b"\x89PNG\r\n\x1a\n"
WANTED = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf")  # of a PNG, by the decoder
CHUNKS = 50_000  # of a PNG; 16 MB in the small ones of 1 KB are a third of that
PASSES = 16  # over the largest picture; over a smaller one as many more


class ImageError(YoloError, ValueError):
    """An image that cannot be used; the message names the file and the reason."""


class CostlyImage(ImageError):
    """An image made to keep its decoder busy. code: what there is too much of, for programs."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def defuse(data, name, pixels, limit):
    """The image's bytes, without what could explode. name: for messages; pixels: those that its
    header states; limit: how many it might have."""
    if data[: len(PNG)] == PNG:
        return _plain_png(data, name)
    if data[:2] == b"\xff\xd8" and data.count(b"\xff\xda") * pixels > PASSES * limit:
        message = f"{name}: a JPEG of so many scans and pixels is not decoded"
        raise CostlyImage("too_many_scans", message)
    return data


def _plain_png(data, name):
    """Without the chunks that do not change the picture, and what follows its end."""
    parts, at = [PNG], len(PNG)
    for _ in range(CHUNKS):
        if at + 12 > len(data):
            return b"".join(parts)  # cut short; the decoder says so
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if kind in WANTED:
            parts.append(data[at : at + 12 + length])
        if kind == b"IEND":
            return b"".join(parts)
        at += 12 + length
    message = f"{name}: a PNG of more than {CHUNKS} chunks is not decoded"
    raise CostlyImage("too_many_chunks", message)

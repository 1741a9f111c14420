"""Images: file -> uint8 pixels, and pixels -> the network's input with the way back for boxes.

Pixels are uint8 (height, width, 3) in RGB order. The network's input is float32 (3, height,
width), 0 to 1. How an image is fitted is part of the model: `stretch` is what Darknet measures
and detects with, `letterbox` keeps the aspect ratio, `centred` cuts out the middle. Boxes are
(..., 4) x, y, w, h relative to the image or to the network's input; a `Placement` carries them from
one to the other.
"""

import os
import stat
from dataclasses import dataclass

import cv2
import numpy as np

from ..files import atomic
from ..ops import stretch
from .defuse import ImageError, defuse
from .header import cut_short, dimensions
from .paths import shown

# 8192 x 8192, 200 MB decoded: more than any camera gives, and little enough for each worker.
PIXEL_LIMIT = 1 << 26
SIDE_LIMIT = 32766  # OpenCV addresses pixels of a warp with 16 bits
BYTE_LIMIT = 1 << 28
GREY = np.float32(0.5)  # of the bands that a letterbox leaves


def read(path):
    """The image of a file, uint8 (height, width, 3) RGB, turned upright as its EXIF says.

    Grey images become three equal channels, transparency is dropped, 16 bits become 8.
    """
    return decode(contents(path), path)


def decode(data, path, limit=None):
    """The image of a file's bytes (uint8 array), as `read` gives it; `path` for messages. limit:
    pixels it may have, default: PIXEL_LIMIT."""
    limit = limit or PIXEL_LIMIT
    size = dimensions(data.data)
    if size is None:
        raise ImageError(
            f"{shown(path)}: not an image that can be read (JPEG, PNG, BMP, PNM, TIFF, WebP, GIF)"
        )
    if size[0] * size[1] > limit:
        raise ImageError(
            f"{shown(path)}: {size[1]}x{size[0]} is more than {limit} pixels; shrink it, or "
            "raise yolo.data.image.PIXEL_LIMIT"
        )
    if max(size) > SIDE_LIMIT:
        raise ImageError(f"{shown(path)}: {size[1]}x{size[0]}; sides go up to {SIDE_LIMIT} pixels")
    if cut_short(data):
        raise ImageError(f"{shown(path)}: cut short; the end of the picture is missing")
    plain = defuse(bytes(data), shown(path), size[0] * size[1], limit)
    return _decoded(np.frombuffer(plain, np.uint8), path)


def contents(path):
    """The file's bytes, uint8; np.fromfile opens names that OpenCV cannot (Windows, not ASCII)."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{shown(path)}: not a file")
        if not 0 < status.st_size <= BYTE_LIMIT:
            raise ImageError(f"{shown(path)}: {status.st_size} bytes; expected 1 to {BYTE_LIMIT}")
        return np.fromfile(path, np.uint8)
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{shown(path)}: {reason}") from None


def _decoded(data, path):
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    except (cv2.error, MemoryError) as error:
        image, reason = None, getattr(error, "err", "") or type(error).__name__
    else:
        reason = "damaged, cut short or of an unusual kind"
    if image is None:
        raise ImageError(f"{shown(path)}: cannot be decoded ({reason})")
    return image


def write(path, image, quality=92):
    """Writes uint8 RGB pixels in the format of the path's extension."""
    extension = os.path.splitext(path)[1].lower() or ".jpg"
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if extension in (".jpg", ".jpeg") else []
    try:
        done, data = cv2.imencode(extension, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    except cv2.error:
        done = False
    if not done:
        raise ImageError(f"{shown(path)}: images cannot be written as '{extension}'")
    atomic(path, data.tobytes())


@dataclass(frozen=True)
class Placement:
    """Where an image lies on the network's input, in pixels of that input."""

    height: int  # of the input
    width: int
    top: int  # of the image on it
    left: int
    new_height: int
    new_width: int

    def to_input(self, boxes_xywh):
        """Boxes relative to the image -> relative to the network's input (a copy)."""
        boxes = boxes_xywh + 0
        boxes[..., 0] = (boxes[..., 0] * self.new_width + self.left) / self.width
        boxes[..., 1] = (boxes[..., 1] * self.new_height + self.top) / self.height
        boxes[..., 2] *= self.new_width / self.width
        boxes[..., 3] *= self.new_height / self.height
        return boxes

    def to_image(self, boxes_xywh):
        """Boxes relative to the network's input -> relative to the image (a copy).

        Undoes the paste exactly; Darknet is off by half a pixel where a margin is odd.
        """
        boxes = boxes_xywh + 0
        boxes[..., 0] = (boxes[..., 0] * self.width - self.left) / self.new_width
        boxes[..., 1] = (boxes[..., 1] * self.height - self.top) / self.new_height
        boxes[..., 2] *= self.width / self.new_width
        boxes[..., 3] *= self.height / self.new_height
        return boxes


def stretched(height, width):
    """The placement of an image that fills the whole input."""
    return Placement(height, width, 0, 0, height, width)


def letterboxed(shape, height, width):
    """The placement of an image of `shape` (height, width, ...) that keeps its aspect ratio."""
    image_height, image_width = shape[:2]
    if width / image_width < height / image_height:
        new_width, new_height = width, max(1, image_height * width // image_width)
    else:
        new_width, new_height = max(1, image_width * height // image_height), height
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return Placement(height, width, top, left, new_height, new_width)


def fit(image, height, width, keep_aspect=False):
    """(input, placement): `letterbox` when the aspect ratio is to be kept, else `stretch`."""
    if keep_aspect:
        return letterbox(image, height, width)
    return stretch(image, height, width), stretched(height, width)


def letterbox(image, height, width):
    """(float32 (3, height, width), placement): the image in the middle, grey around it."""
    place = letterboxed(image.shape, height, width)
    canvas = np.full((3, height, width), GREY, np.float32)
    rows = slice(place.top, place.top + place.new_height)
    columns = slice(place.left, place.left + place.new_width)
    canvas[:, rows, columns] = stretch(image, place.new_height, place.new_width)
    return canvas, place


def centred(image, height, width):
    """uint8 (h, w, 3) -> float32 (3, height, width), 0 to 1: its shorter side stretched to `width`
    pixels, the middle cut out. What is missing repeats the edge. How Darknet classifies."""
    h, w = image.shape[:2]
    size = (h * width // w, width) if w < h else (width, w * width // h)
    x = stretch(image, *(max(1, side) for side in size))
    rows = (np.arange(height) + int((x.shape[1] - height) / 2)).clip(0, x.shape[1] - 1)
    columns = (np.arange(width) + int((x.shape[2] - width) / 2)).clip(0, x.shape[2] - 1)
    return np.ascontiguousarray(x[:, rows][:, :, columns])

"""What a user gives to look at - images, folders, videos, cameras, arrays - as frames."""

import glob
import os
from pathlib import Path

import cv2
import numpy as np

from ..legible import shown
from .frame import Frame
from .image import ImageError, read
from .lists import DataError
from .live import Live, is_live
from .pixels import KINDS, is_array, pixels

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")


def expand(sources):
    """Paths of the images and videos that a list of files, folders and patterns names.

    A folder stands for the images and videos in it, in the order of their names. What exists is
    taken as it is called, even with *, ? or [ in its name.
    """
    found = []
    for source in map(os.fspath, sources):
        if os.path.isdir(source):
            inside = sorted(os.listdir(source))
            found += [os.path.join(source, n) for n in inside if is_image(n) or is_video(n)]
            if not any(is_image(n) or is_video(n) for n in inside):
                raise DataError(f"{shown(source)}: no image or video in this folder")
        elif not os.path.exists(source) and glob.has_magic(source):
            matches = sorted(glob.glob(source, recursive=True))
            if not matches:
                raise DataError(f"{shown(source)}: nothing matches this pattern")
            found += [path for path in matches if os.path.isfile(path)]
        else:
            found.append(source)
    return found


def is_image(path):
    return Path(path).suffix.lower() in IMAGES


def is_video(path):
    return Path(path).suffix.lower() in VIDEOS


def frames(paths):
    """Frames of each path in turn; an image that cannot be read is a frame with its error."""
    return begun(_frames(paths))


def _frames(paths):
    for path in paths:
        if is_video(path):
            yield from video_frames(path)
            continue
        try:
            yield Frame(path, read(path))
        except ImageError as error:
            yield Frame(path, None, error)


def begun(found):
    """The same frames, told where a video or camera begins, and where an image comes behind one."""
    before = None
    for frame in found:
        if frame.error is not None:  # nobody looks at it
            yield frame
            continue
        video = None if frame.number is None else frame.path
        if frame.begins is None:
            frame.begins = frame.number == 0 or video != before
        before = video
        yield frame


def count(paths):
    """How many frames these are, as far as the videos' headers tell; for a progress bar."""
    total = 0
    for path in paths:
        if not is_video(path):
            total += 1
            continue
        video = cv2.VideoCapture(path)
        total += max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
        video.release()
    return total


def video_frames(path):
    """Every frame of a video file."""
    if not os.path.isfile(path):
        yield Frame(path, None, ImageError(f"{shown(path)}: no such file"), 0)
        return
    video = cv2.VideoCapture(path)
    try:
        rate, number = video.get(cv2.CAP_PROP_FPS) or 25.0, 0
        while True:
            there, image = video.read()
            if not there:
                break
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            yield Frame(path, image, None, number, rate, number / rate)
            number += 1
    finally:
        video.release()
    if number == 0:
        yield Frame(path, None, ImageError(f"{shown(path)}: no frame can be decoded"), 0)


# ---- anything ----


def is_single(source):
    """Whether this is one image; folders, patterns, videos, cameras, stacks and iterables are
    several."""
    if is_live(source):
        return False
    if isinstance(source, Frame):
        return True
    if isinstance(source, (str, os.PathLike)):
        pattern = glob.has_magic(os.fspath(source)) and not os.path.exists(source)
        return not (pattern or os.path.isdir(source) or is_video(source))
    if is_array(source):
        return np.ndim(source) != 4
    if hasattr(source, "__iter__"):
        return False
    raise TypeError(f"predict: cannot use {type(source).__name__}; expected {KINDS}")


def is_endless(source):
    """Whether this is a camera or a stream, which give frames until somebody stops them."""
    return isinstance(source, Live) or is_live(source)


def pictures(source, bgr=False):
    """An iterator of Frames of a path, a camera, an image in memory, or an iterable of these but
    the camera; each is read when it is asked for. What cannot be read raises its ImageError, a
    camera that is gone its SourceError."""
    if is_live(source):
        return begun(Live(source))
    if isinstance(source, (str, os.PathLike)) or is_single(source):
        return begun(_each([source], bgr))
    return begun(_each(source, bgr))


def _each(sources, bgr):
    for item in sources:
        if is_live(item):
            raise TypeError(f"predict: {item!r} among others: a camera is a source by itself")
        if isinstance(item, Frame):
            yield item
        elif isinstance(item, (str, os.PathLike)):
            yield from _readable(_frames(expand([item])))
        else:
            yield Frame(None, pixels(item, bgr))


def _readable(found):
    for frame in found:
        if frame.error is not None:
            raise frame.error
        yield frame

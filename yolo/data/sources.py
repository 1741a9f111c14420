"""What a user names to look at - images, folders, patterns, videos - as a stream of frames."""

import glob
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..legible import shown
from .image import ImageError, read
from .lists import DataError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")


@dataclass
class Frame:
    """One picture to look at: an image, or a frame of a video."""

    path: str
    image: np.ndarray | None  # uint8 (H, W, 3) RGB; None where it cannot be read
    error: ImageError | None = None
    number: int | None = None  # in its video, from 0
    rate: float | None = None  # frames a second of its video


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
    for path in paths:
        if is_video(path):
            yield from video_frames(path)
            continue
        try:
            yield Frame(path, read(path))
        except ImageError as error:
            yield Frame(path, None, error)


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
            yield Frame(path, cv2.cvtColor(image, cv2.COLOR_BGR2RGB), None, number, rate)
            number += 1
    finally:
        video.release()
    if number == 0:
        yield Frame(path, None, ImageError(f"{shown(path)}: no frame can be decoded"), 0)

"""Cameras and network streams: frames that come when they come, and have no end of their own.

    for frame in Live("rtsp://host/stream"):          # or Live(0): the first camera
        ...

A thread reads, so that waiting can be broken off and a slow reader can be given the newest frame.
"""

import os
import re
import threading
import time
import warnings
from collections import deque
from urllib.parse import urlsplit

import cv2

from ..errors import YoloError
from ..legible import shown
from .frame import Frame

MODES = ("newest", "every")
SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "rtp", "srt")
RATE = 25.0  # frames a second, where a source states none that can be
PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds before the first try to connect again; each doubles it
GRACE = 2.0  # seconds that OpenCV has beyond the timeout it was told


class SourceError(YoloError):
    """A camera or stream that is not there, or stopped; the message names it."""


class SourceWarning(UserWarning):
    """A connection was lost and is tried again."""


def is_live(source):
    """Whether this is a camera (0, "0", "/dev/video0") or a stream ("rtsp://..."); an existing file
    that is called 0 is a file."""
    if isinstance(source, int) and not isinstance(source, bool):
        return source >= 0
    if not isinstance(source, str):
        return False
    if re.fullmatch("[0-9]+", source):
        return not os.path.exists(source)
    return source.startswith("/dev/video") or source.partition("://")[0].lower() in SCHEMES


def public_name(address):
    """The address as it may be shown: without user, password and query, which may hold secrets."""
    address = str(address)
    if address.isdecimal():
        return f"camera://{address}"
    if "://" not in address:
        return address
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Live:
    """Iterates over the Frames of one camera or stream; once.

    frames: "newest" drops whatever came while the last frame was looked at, but for the newest;
        "every" drops nothing here: a source that is too fast is kept waiting, until it drops
        frames itself or falls behind the present.
    retries: how often in a row a lost connection is tried again; the first one is tried once.
    timeout: seconds within which a connection and each frame must come.

    Raises SourceError; warns with SourceWarning when it connects again. After the loop `captured`,
    `dropped` and `reconnections` say what happened.
    """

    def __init__(self, address, frames="newest", retries=5, timeout=10.0):
        if not is_live(address):
            raise SourceError(f"{shown(str(address))}: expected a camera's number or rtsp://...")
        if frames not in MODES:
            raise SourceError(f"frames is one of {', '.join(MODES)}, got {frames!r}")
        self.address, self.path = str(address), public_name(address)
        self.newest, self.retries, self.timeout = frames == "newest", retries, timeout
        self.captured = self.dropped = self.reconnections = 0
        self._waiting, self._notes = deque(), deque()
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._ended, self._error = False, None
        self._deadline = float("inf")  # the thread reports by then, or hangs inside OpenCV

    def __iter__(self):
        thread = threading.Thread(target=self._connections, name=f"read {self.path}", daemon=True)
        thread.start()
        try:
            while (frame := self._next()) is not None:
                yield frame
        finally:
            self._closed.set()
            thread.join(GRACE)  # a thread that hangs inside OpenCV is left behind
            self.dropped += len(self._waiting)

    def _next(self):
        """The next Frame in RGB, or None after the last of a recording."""
        with self._changed:
            while not (self._waiting or self._notes or self._ended):
                if time.monotonic() > self._deadline:
                    raise SourceError(f"{shown(self.path)}: no answer for {self.timeout:g} s")
                self._changed.wait(0.1)
            notes = [self._notes.popleft() for _ in range(len(self._notes))]
            frame = self._waiting.popleft() if self._waiting else None
            ended, error = self._ended, self._error
            self._changed.notify_all()
        for note in notes:
            warnings.warn(note, SourceWarning, stacklevel=3)
        if frame is not None:
            frame.image = cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB)
            return frame
        if error is not None:
            raise error
        return None if ended else self._next()

    # ---- in the thread ----

    def _connections(self):
        """Connects and reads until closed, the end of a recording, or too many failures."""
        failed, lost, error = 0, None, None  # connections in a row that gave nothing
        try:
            while not self._closed.is_set():
                before = self.captured
                if (lost := self._read_connection()) is None:
                    break
                failed = 0 if self.captured > before else failed + 1
                if self.captured == 0 or failed >= self.retries:
                    after = f" after {self.captured} frames" if self.captured else ""
                    error = SourceError(f"{shown(self.path)}: {lost}{after}{_tries(failed)}")
                    break
                self._note(f"{lost} after {self.captured} frames, try {failed + 1}/{self.retries}")
                self.reconnections += 1
                self._deadline = float("inf")
                self._closed.wait(min(PAUSE * 2**failed, LONGEST_PAUSE))
        except Exception as fault:  # whatever OpenCV raises ends the loop of the other thread
            error = SourceError(f"{shown(self.path)}: {str(fault).strip().splitlines()[0]}")
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def _read_connection(self):
        """Reads one connection to its end; why it ended, or None where that is no failure."""
        self._deadline = time.monotonic() + self.timeout + GRACE
        capture = _capture(self.address, self.timeout)
        try:
            if not capture.isOpened():
                return "cannot be opened"
            rate = capture.get(cv2.CAP_PROP_FPS)
            rate = rate if 1 <= rate <= 240 else RATE
            length, read = capture.get(cv2.CAP_PROP_FRAME_COUNT), 0
            while not self._closed.is_set():
                self._deadline = time.monotonic() + self.timeout + GRACE
                there, image = capture.read()
                if not there:
                    return None if 0 < length <= read else "no frame comes"
                read += 1
                self._pass_on(image, rate)
            return None
        finally:
            capture.release()

    def _pass_on(self, image, rate):
        now = time.monotonic()
        with self._changed:
            self._deadline = float("inf")  # from here on it is the other thread that takes time
            if self.captured == 0:
                self._first = now
            if self.newest and self._waiting:
                self._waiting.clear()
                self.dropped += 1
            while self._waiting and not self._closed.is_set():
                self._changed.wait(0.1)
            seconds = now - self._first
            self._waiting.append(Frame(self.path, image, None, self.captured, rate, seconds))
            self.captured += 1
            self._changed.notify_all()

    def _note(self, text):
        with self._changed:
            self._notes.append(f"{shown(self.path)}: {text}")
            self._changed.notify_all()


def _tries(failed):
    return f", {failed} tries to connect again failed" if failed > 1 else ""


def _capture(address, timeout):
    """An OpenCV capture that gives up after `timeout` seconds, where its backend knows how."""
    if address.isdecimal():
        return cv2.VideoCapture(int(address))
    if "://" not in address:
        return cv2.VideoCapture(address)
    milliseconds = int(1000 * timeout)
    limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
    settings = [value for limit in limits for value in (limit, milliseconds)]
    return cv2.VideoCapture(address, cv2.CAP_FFMPEG, settings)

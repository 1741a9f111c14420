"""Sources of live frames that tests make: a stand-in for OpenCV's capture, and MJPEG over HTTP."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import cv2
import numpy as np

from tests.local_server import answering

SIZE = (32, 64)


def numbered(number, size=SIZE):
    """A picture (H, W, 3) BGR whose red says which it is."""
    image = np.zeros((*size, 3), np.uint8)
    image[:, :, 2] = number % 256
    return image


class Camera:
    """Stands in for cv2.VideoCapture. connections: for each time it is opened how many frames it
    gives, None: it cannot be opened; after the last it cannot be opened any more.

    every: seconds between two frames.  hangs: the last frame never comes.
    """

    def __init__(self, *connections, every=0.0, hangs=False, rate=10.0, draw=numbered):
        self.connections, self.every, self.hangs = list(connections), every, hangs
        self.rate, self.draw = rate, draw
        self.opened = self.given = self.released = 0
        self.forever = threading.Event()

    def __call__(self, address, *settings):
        self.opened += 1
        self.left = self.connections.pop(0) if self.connections else None
        return self

    def isOpened(self):
        return self.left is not None

    def get(self, what):
        return self.rate if what == cv2.CAP_PROP_FPS else 0.0

    def read(self):
        if not self.left:
            if self.hangs:
                self.forever.wait(30)
            return False, None
        time.sleep(self.every)
        self.left -= 1
        self.given += 1
        return True, self.draw(self.given - 1)

    def release(self):
        self.released += 1


@contextmanager
def mjpeg(frames, every=0.01, draw=numbered):
    """Address of MJPEG over HTTP, `frames` in each connection."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for number in range(frames):
                data = cv2.imencode(".jpg", draw(number))[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}"
                self.wfile.write(head.encode() + b"\r\n\r\n" + data + b"\r\n")
                time.sleep(every)

        def log_message(self, *_):
            pass

    with answering(Handler) as port:
        yield f"http://user:secret@127.0.0.1:{port}/live?key=secret"

"""Requests byte by byte, as no well-behaved client sends them."""

import json
import socket
import time

from tests.serve.small_server import encoded, picture

IMAGE = encoded(picture())


def post(body=IMAGE, length=None):
    """The bytes of a request."""
    length = len(body) if length is None else length
    return b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length + body


class Raw:
    """A connection to a server, byte by byte."""

    def __init__(self, live):
        self.socket = socket.create_connection(("127.0.0.1", live.port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)
        return self

    def answer(self):
        """(status, content) of the next answer; None when the connection is closed."""
        while b"\r\n\r\n" not in self.rest:
            if not self._more():
                return None
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        while len(self.rest) < int(fields["content-length"]):
            assert self._more()
        size = int(fields["content-length"])
        content, self.rest = self.rest[:size], self.rest[size:]
        return int(lines[0].split()[1]), json.loads(content) if content else None

    def _more(self):
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionError:
            data = b""
        self.rest += data
        return bool(data)

    def closed_after(self):
        """Seconds until the server closes the connection."""
        started = time.monotonic()
        while self._more():
            pass
        return time.monotonic() - started


def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)

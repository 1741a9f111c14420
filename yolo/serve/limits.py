"""What the server takes from strangers, and how it says no to the rest."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Everything that a request could otherwise make grow."""

    body: int = 16 << 20  # bytes of one request's body
    bodies: int = 256 << 20  # bytes of all bodies in memory together
    pixels: int = 1 << 25  # of an image, as its header states; 100 MB decoded
    waiting: int = 32  # requests whose upload is over and that have no answer yet
    seconds: float = 30.0  # from the end of the upload to the answer
    upload_seconds: float = 15.0  # for the whole body
    idle_seconds: float = 20.0  # a connection without a complete request head, or not reading
    connections: int = 256
    head: int = 16 << 10  # bytes of request line and headers
    detections: int = 1000  # in one answer, the surest first
    thresh: float = 0.01  # the lowest; below it suppression alone would take minutes


class Refusal(Exception):
    """A request that is not answered with detections: HTTP status, a word for programs and a
    sentence for people."""

    def __init__(self, status, code, message, retry_after=None):
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after


def busy(what):
    """503: the same request may succeed in a second."""
    return Refusal(503, "busy", f"{what}; try again", retry_after=1)

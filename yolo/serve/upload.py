"""A request's body -> pixels, in memory alone: no byte and no name from the network reaches the
disk.

The body is the image itself, or a form (multipart/form-data) with the image in the part `image`, or
in its only part with a file name. What kind of image it is, its first bytes tell.
"""

import asyncio
from contextlib import asynccontextmanager
from email.message import Message
from email.parser import BytesHeaderParser

import numpy as np

from ..data.defuse import CostlyImage
from ..data.header import dimensions
from ..data.image import SIDE_LIMIT, ImageError, decode
from .limits import Refusal, busy

KINDS = "JPEG, PNG, WebP, GIF, BMP, PNM"
TIFF = (b"II*\0", b"MM\0*")  # a small one may ask its reader for a gigabyte, in too many ways
TYPE = 500  # bytes of a Content-Type, which takes quadratic time to read
PARTS = 16  # of a form
PART_HEAD = 4096  # bytes


class Uploads:
    """Bodies in memory: each within its limit, and all of them together."""

    def __init__(self, limits):
        self.limits, self.held = limits, 0  # bytes

    @asynccontextmanager
    async def body(self, request):
        """The request's body, a bytearray; its memory counts as taken while the block lasts."""
        self._check_head(request.headers)
        body = bytearray()
        try:
            try:
                await asyncio.wait_for(self._collect(request, body), self.limits.upload_seconds)
            except asyncio.TimeoutError:
                seconds = self.limits.upload_seconds
                raise Refusal(408, "slow_upload", f"not uploaded in {seconds:g} seconds") from None
            yield body
        finally:
            self.held -= len(body)

    def _check_head(self, headers):
        coding = headers.get("content-encoding", "identity")
        if coding != "identity":
            raise Refusal(415, "encoded", "a body with Content-Encoding is not taken")
        if len(headers.get("content-type", "")) > TYPE:
            raise Refusal(400, "bad_request", f"Content-Type has more than {TYPE} characters")
        if "transfer-encoding" in headers and "content-length" in headers:
            raise Refusal(400, "bad_request", "Transfer-Encoding and Content-Length at once")
        if headers.get("sec-fetch-site") == "cross-site":  # another site's page in a browser
            raise Refusal(403, "cross_site", "pages of other sites are not served")
        if int(headers.get("content-length", 0)) > self.limits.body:
            raise self._too_large()

    async def _collect(self, request, body):
        async for chunk in request.stream():
            if len(body) + len(chunk) > self.limits.body:
                raise self._too_large()
            if self.held + len(chunk) > self.limits.bodies:
                raise busy("too many uploads at once")
            self.held += len(chunk)
            body += chunk

    def _too_large(self):
        return Refusal(413, "too_large", f"the body has more than {self.limits.body} bytes")


def pixels(body, content_type, limit):
    """The image that a body holds, uint8 (H, W, 3) RGB, of at most `limit` pixels."""
    data = image_part(body, content_type)
    if not data:
        raise Refusal(400, "empty", "no image: the body is empty")
    size = None if data[:4] in TIFF else dimensions(data)
    if size is None:
        raise Refusal(415, "not_an_image", f"not an image that can be read ({KINDS})")
    height, width = size
    if height * width > limit or max(size) > SIDE_LIMIT:
        message = f"{width}x{height}: more than {limit} pixels, or a side above {SIDE_LIMIT}"
        raise Refusal(413, "too_many_pixels", message)
    try:
        return decode(np.frombuffer(data, np.uint8), "image", limit)
    except CostlyImage as error:
        raise Refusal(413, error.code, str(error)) from None
    except ImageError as error:
        raise Refusal(422, "damaged", str(error)) from None


def image_part(body, content_type):
    """The image's bytes: of a form the part that holds it, else the body."""
    head = Message()
    head["Content-Type"] = content_type
    if head.get_content_type() != "multipart/form-data":
        return body
    parts = dict(_parts(body, head.get_param("boundary", "")))
    files = [name for name, (filename, _) in parts.items() if filename is not None]
    if "image" not in parts and len(files) != 1:
        raise Refusal(400, "bad_form", "the form has no part called 'image'")
    return parts["image" if "image" in parts else files[0]][1]


def _parts(body, boundary):
    """(name, (file name or None, content)) of each part of a form."""
    if not (isinstance(boundary, str) and 1 <= len(boundary) <= 70 and boundary.isascii()):
        raise Refusal(400, "bad_form", "the form's Content-Type has no usable boundary")
    mark = b"\r\n--" + boundary.encode()
    pieces = (b"\r\n" + body).split(mark, PARTS + 1)[1:]  # what stands before them does not count
    if not pieces or not pieces[-1].startswith(b"--"):
        raise Refusal(400, "bad_form", f"the form is cut short, or has more than {PARTS} parts")
    for piece in pieces[:-1]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        if not blank or len(head) > PART_HEAD:
            raise Refusal(400, "bad_form", "a part of the form has no proper head")
        fields = BytesHeaderParser().parsebytes(head.lstrip())
        name = fields.get_param("name", header="content-disposition")
        yield str(name), (fields.get_filename(), content)

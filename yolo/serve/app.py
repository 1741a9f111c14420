"""The HTTP interface: POST /detect, /health, /metrics, and a page for people.

Every refusal is JSON: {"error": {"status": 413, "code": "too_large", "message": "..."}}.
"""

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from . import metrics as prometheus
from .limits import Refusal
from .page import model_name, page, policy
from .queue import Settings
from .upload import Uploads, pixels

PATHS = ("/", "/detect", "/health", "/metrics", "/openapi.json")
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"cache-control": b"no-store",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
}
BINARY = {"type": "string", "format": "binary"}
FORM = {"type": "object", "properties": {"image": BINARY}, "required": ["image"]}
BODY = {"image/*": {"schema": BINARY}, "multipart/form-data": {"schema": FORM}}


def build(engine, defaults, limits):
    """The ASGI application. defaults: the Settings of a request that names none."""
    from .. import __version__

    # Without FastAPI's own pages, which load their scripts from elsewhere.
    app = FastAPI(title="yolo", version=__version__, docs_url=None, redoc_url=None,
                  lifespan=partial(_working, engine))  # fmt: skip
    for kind, answer in REFUSALS.items():
        app.add_exception_handler(kind, answer)
    uploads = Uploads(limits)
    _add_detect(app, engine, uploads, defaults, limits)
    _add_watching(app, engine, uploads)
    html = page(engine.net, defaults, limits)
    about = {"Content-Security-Policy": policy(html), "Permissions-Policy": "camera=(self)"}

    @app.get("/", include_in_schema=False)
    async def front():
        return HTMLResponse(html, headers=about)

    return Outside(app, engine.metrics)


@asynccontextmanager
async def _working(engine, app):
    """The queue is served while the application runs."""
    work = asyncio.create_task(engine.work())
    yield
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work
    engine.close()


def _add_detect(app, engine, uploads, defaults, limits):
    class Parameters(BaseModel, extra="forbid"):
        thresh: float = Field(defaults.thresh, ge=limits.thresh, le=1)
        nms: float = Field(defaults.nms, ge=0, le=1)
        letterbox: bool = defaults.letterbox

    @app.post("/detect", openapi_extra={"requestBody": {"content": BODY, "required": True}})
    async def detect(request: Request, parameters: Annotated[Parameters, Query()]):
        """Objects in the image that is the body, or in the part `image` of a form."""
        engine.admit()
        started = time.perf_counter()
        async with uploads.body(request) as body:
            seconds = {"upload": time.perf_counter() - started}
            load = partial(pixels, body, request.headers.get("content-type"), limits.pixels)
            work = engine.detect(load, Settings(**parameters.model_dump()))
            found, stages = await _answer(work, request, limits.seconds)
        seconds |= stages
        engine.metrics.detected(found, seconds)
        return JSONResponse(_content(found, limits.detections), headers=_timing(seconds))


def _add_watching(app, engine, uploads):
    @app.get("/health")
    async def health():
        """That this server can answer, and with which network."""
        height, width = engine.net.input_shape[1:]
        size = {"height": height, "width": width}
        return {"status": "ok", "model": model_name(engine.net), "input": size,
                "waiting": engine.inside}  # fmt: skip

    @app.get("/metrics")
    async def metrics():
        """Counters and durations for Prometheus."""
        text = engine.metrics.text(engine.inside, uploads.held)
        return Response(text, media_type=prometheus.CONTENT_TYPE)


async def _answer(work, request, seconds):
    """What `work` gives; it is given up when it takes too long, and when nobody waits for it."""
    answer = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({answer, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if gone.done():
            raise ClientDisconnect
        raise Refusal(504, "timeout", f"no answer within {seconds:g} seconds", retry_after=1)
    finally:
        answer.cancel()
        gone.cancel()


async def _gone(request):
    """Returns when the asker has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _content(found, limit):
    """The answer's JSON: image_size [height, width], detections, and how many were left out."""
    content = found[:limit].to_dict()
    del content["path"]
    return content | {"left_out": max(0, len(found) - limit)}


def _timing(seconds):
    """The header that browsers show beside a request, in milliseconds."""
    parts = (f"{stage};dur={1e3 * value:.2f}" for stage, value in seconds.items())
    return {"Server-Timing": ", ".join(parts)}


# ---- refusals ----


def error(status, code, message, headers=None):
    """The JSON of every refusal."""
    content = {"error": {"status": status, "code": code, "message": message}}
    return JSONResponse(content, status, headers)


async def _refused(request, refusal):
    wait = refusal.retry_after
    headers = None if wait is None else {"Retry-After": str(wait)}
    return error(refusal.status, refusal.code, str(refusal), headers)


async def _unfit(request, invalid):
    """Query parameters that are unknown or out of range."""
    faults = (f"{fault['loc'][-1]}: {fault['msg']}" for fault in invalid.errors()[:5])
    return error(422, "bad_parameter", "; ".join(faults))


async def _unknown(request, missing):
    """Paths and methods that are not served."""
    return error(missing.status_code, "not_served", missing.detail, missing.headers)


async def _gone_away(request, disconnect):
    """Nobody reads this; the status is nginx's, for the metrics."""
    return error(499, "gone", "the client closed the connection")


async def _fault(request, exception):
    """A fault of this program, whose traceback goes to stderr, not to strangers."""
    return error(500, "fault", "the server failed; its log says why")


REFUSALS = {
    Refusal: _refused,
    RequestValidationError: _unfit,
    HTTPException: _unknown,
    ClientDisconnect: _gone_away,
    Exception: _fault,
}


class Outside:
    """Around the application: headers that every answer has, and the count of the answers."""

    def __init__(self, app, metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path = scope["path"] if scope["path"] in PATHS else "other"

        async def counted(message):
            if message["type"] == "http.response.start":
                self.metrics.answers[path, message["status"]] += 1
                message["headers"] = [*message["headers"], *HEADERS.items()]
            await send(message)

        await self.app(scope, receive, counted)

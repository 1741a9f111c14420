"""The socket, the signals, and uvicorn between them."""

import os
import socket
import sys
from contextlib import contextmanager

import uvicorn

from ..errors import YoloError
from .connection import Connection

BACKLOG = 128


class ListenError(YoloError, OSError):
    """The address cannot be listened on."""


def listen(host, port):
    """A socket bound to the first address of `host`."""
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ListenError(
            f"cannot listen on port {port} of {host}: {reason}; --port and --host choose others"
        ) from None


def url(listener):
    """Where a browser on this machine finds it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def libraries_silent():
    """What the image libraries say about damaged images goes nowhere while the block lasts; they
    write it straight to the descriptor of stderr. Strangers could fill a log with it, and stop the
    server where nobody reads the pipe. Python's own stderr goes on."""
    sys.stderr.flush()
    own, earlier, null = os.dup(2), sys.stderr, os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    with open(own, "w", encoding="utf-8", errors="backslashreplace", buffering=1) as stderr:
        sys.stderr = stderr
        try:
            yield
        finally:
            os.dup2(own, 2)
            sys.stderr = earlier


class Server(uvicorn.Server):
    """Ends by a signal as planned: what was asked is answered, and then run() returns. A second
    signal ends it at once."""

    def handle_exit(self, sig, frame):
        self.force_exit = self.should_exit
        self.should_exit = True


def make(app, limits, metrics):
    """A Server, whose run(sockets=[...]) serves until SIGINT or SIGTERM."""
    connection = type("Connection", (Connection,), {"limits": limits, "metrics": metrics})
    config = uvicorn.Config(
        app,
        http=connection,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=int(limits.upload_seconds + limits.seconds) + 1,
        h11_max_incomplete_event_size=limits.head,
    )
    return Server(config)

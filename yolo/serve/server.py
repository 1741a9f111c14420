"""The socket, the signals, and uvicorn between them."""

import socket

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

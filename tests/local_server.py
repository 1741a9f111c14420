"""An HTTP server on this machine, for tests of what asks one."""

from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from threading import Thread


@contextmanager
def answering(handler):
    """Port of a server whose requests `handler`, a BaseHTTPRequestHandler, answers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        quick = {"poll_interval": 0.01}  # else half a second passes before it ends
        thread = Thread(target=server.serve_forever, kwargs=quick)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()

"""One connection: uvicorn's, with an end to what clients may leave open."""

import json
import socket
import struct

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: closing drops what was not sent, and resets
LINGER = 3.0  # seconds in which the rest of a refused upload is read away
FRAMING = 1 << 18  # bytes that a request may have beside its body: its head, and heads of chunks
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)


class Connection(H11Protocol):
    """A connection that is cut off when, for `idle_seconds`, it neither completes the head of a
    request nor reads its answer. While a request is worked on, its own time limits hold.

    `limits` and `metrics` are set by the server, in a class made for it.
    """

    limits = metrics = None
    _timer = None
    _framing = 0  # bytes of the present request that were not its body

    def connection_made(self, transport):
        super().connection_made(transport)
        self._cut_after(self.limits.idle_seconds)
        if len(self.connections) > self.limits.connections:
            self.metrics.dropped += 1
            transport.write(FULL)
            transport.close()

    def data_received(self, data):
        # In pieces, since a head that arrives whole is not held against the limit.
        for start in range(0, len(data), self.limits.head):
            if self.transport.is_closing():
                return
            self._take(data[start : start + self.limits.head])
        self._keep_while_working()

    def _take(self, data):
        """Chunks of a byte each would cost a hundred times what a body of their length does."""
        cycle, before = self.cycle, len(self.cycle.body) if self.cycle else 0
        super().data_received(data)
        if cycle is None or self.cycle is not cycle or cycle.response_complete:
            self._framing = 0
            return
        self._framing += len(data) - (len(cycle.body) - before)
        if self._framing > FRAMING:
            self.send_400_response("The chunks of the body are too small.")

    def on_response_complete(self):
        # A client that is still sending may miss the answer if the connection closes at once.
        unread = self.conn.their_state is h11.SEND_BODY
        self._cut_after(LINGER if unread else self.limits.idle_seconds)
        super().on_response_complete()
        self._keep_while_working()

    def pause_writing(self):
        super().pause_writing()
        self._cut_after(self.limits.idle_seconds)

    def resume_writing(self):
        super().resume_writing()
        self._keep_while_working()

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self._timer.cancel()

    def send_400_response(self, msg):
        """What is no HTTP. Where an answer has begun already, only the end of it is left."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            content = {"error": {"status": 400, "code": "bad_request", "message": msg}}
            body = json.dumps(content).encode()
            head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
            head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
            self.metrics.answers["other", 400] += 1
        self.transport.close()

    def _keep_while_working(self):
        """No end is set while a request is worked on and its answer can be written."""
        working = self.cycle is not None and not self.cycle.response_complete
        if working and not self.flow.write_paused:
            self._timer.cancel()

    def _cut_after(self, seconds):
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._cut)

    def _cut(self):
        """An answer that nobody reads would stay with the kernel, megabytes of it, for minutes."""
        if self.transport.get_write_buffer_size():
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        self.transport.abort()

"""Limits on a real socket: slow, large, many, and those that go away."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.serve.raw import IMAGE, Raw, post, until
from tests.serve.small_server import NET, encoded, picture, serving
from yolo.predict import predict
from yolo.serve import connection
from yolo.serve.limits import Limits


def test_many_at_once_get_their_own_answers(engine):
    images = [picture(seed=k) for k in range(8)]
    expected = [predict(NET, image).scores.tolist() for image in images]
    with serving(engine) as live, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda k: live.ask(body=encoded(images[k % 8])), range(96)))
    refused = [status for status, *_ in answers if status != 200]
    assert refused == []
    for k, (_, _, content) in enumerate(answers):
        scores = [one["score"] for one in content["detections"]]
        assert scores == pytest.approx(expected[k % 8], rel=1e-4)
    assert engine.inside == 0 and engine.metrics.answers["/detect", 200] == 96


def test_an_upload_that_takes_too_long(engine):
    with serving(engine, Limits(upload_seconds=0.4)) as live, Raw(live) as raw:
        raw.send(post(b"", 1000))
        started = time.monotonic()
        for _ in range(6):
            raw.send(b"x")
            time.sleep(0.05)
        status, content = raw.answer()
        assert status == 408 and content["error"]["code"] == "slow_upload"
        assert 0.3 < time.monotonic() - started < 2
        assert live.ask(body=IMAGE)[0] == 200


def test_connections_that_never_come_to_a_request(engine):
    """Nothing, a head in drips, or idle after an answer."""
    limits = Limits(idle_seconds=0.5)
    with serving(engine, limits) as live, Raw(live) as silent, Raw(live) as slow, Raw(live) as idle:
        slow.send(b"POST /detect HTTP/1.1\r\nHost: x\r\n")
        assert idle.send(post()).answer()[0] == 200
        for _ in range(4):
            time.sleep(0.05)
            slow.send(b"X-More: 1\r\n")
        assert max(raw.closed_after() for raw in (silent, slow, idle)) < 2


def test_a_crowd_that_uploads_slowly_keeps_nobody_waiting(engine):
    """A hundred uploads that do not go on: neither the queue nor the network is theirs."""
    with serving(engine, Limits(waiting=2)) as live:
        crowd = [Raw(live).send(post(IMAGE[:100], len(IMAGE))) for _ in range(100)]
        until(lambda: len(live.server.server_state.connections) == 100)
        assert [live.ask(body=IMAGE)[0] for _ in range(10)] == 10 * [200]
        for raw in crowd:
            raw.socket.close()
        until(lambda: engine.metrics.answers["/detect", 499] == 100)


def test_a_stated_length_too_large_is_refused_before_the_body(engine):
    with serving(engine, Limits(body=1000)) as live, Raw(live) as raw:
        status, content = raw.send(post(b"", 1001)).answer()
        assert status == 413 and content["error"]["code"] == "too_large"


def test_chunks_are_counted(engine):
    head = b"POST /detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(engine, Limits(body=1000)) as live:
        with Raw(live) as raw:
            raw.send(head)
            for _ in range(11):
                raw.send(b"64\r\n" + bytes(100) + b"\r\n")
            assert raw.answer()[0] == 413
        with Raw(live) as raw:
            raw.send(head + b"%x\r\n" % 500 + IMAGE[:500])  # not the end
            until(lambda: live.engine.inside == 0)
        assert live.ask(body=b"x")[0] == 415


def test_chunks_of_a_byte_are_not_taken_for_long(engine):
    head = b"POST /detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(engine) as live:
        with Raw(live) as raw, pytest.raises(ConnectionError):
            for _ in range(300):
                raw.send(head + 1000 * b"1\r\nx\r\n")
                head = b""
                time.sleep(0.002)
        assert engine.metrics.answers["other", 400] == 1
        with Raw(live) as raw:  # larger ones are, as many as a body holds
            body = bytes(4 << 20)
            parts = (body[k : k + 1024] for k in range(0, len(body), 1024))
            head = b"POST /detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            raw.send(head + b"".join(b"400\r\n%s\r\n" % part for part in parts) + b"0\r\n\r\n")
            assert raw.answer()[0] == 415


def test_who_goes_on_sending_is_cut_off(engine, monkeypatch):
    monkeypatch.setattr(connection, "LINGER", 0.3)
    with serving(engine, Limits(body=1000)) as live, Raw(live) as raw:
        assert raw.send(post(b"", 10**12)).answer()[0] == 413
        started = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - started < 5:
                raw.send(bytes(10_000))
                time.sleep(0.01)
        assert time.monotonic() - started < 2


def test_a_refused_upload_does_not_cost_the_connection(engine):
    with serving(engine, Limits(body=len(IMAGE))) as live, Raw(live) as raw:
        assert raw.send(post(IMAGE + b"x")).answer()[0] == 413
        assert raw.send(post(IMAGE)).answer()[0] == 200


def test_a_full_queue(gate):
    with serving(gate) as live, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(live.ask, body=IMAGE) for _ in range(2)]
        until(lambda: gate.inside == 2)
        status, headers, content = live.ask(body=IMAGE)
        assert status == 503 and content["error"]["code"] == "busy"
        assert headers["Retry-After"] == "1"
        assert live.ask("GET", "/health")[2]["waiting"] == 2
        gate.open.set()
        assert [job.result()[0] for job in waiting] == [200, 200]
        assert live.ask(body=IMAGE)[0] == 200


def test_no_answer_in_time(gate):
    with serving(gate, Limits(seconds=0.3)) as live:
        status, headers, content = live.ask(body=IMAGE)
        assert status == 504 and content["error"]["code"] == "timeout"
        assert headers["Retry-After"] == "1"
        gate.open.set()
        assert live.ask(body=IMAGE)[0] == 200
        assert gate.inside == 0


def test_who_hangs_up_leaves_the_queue(gate):
    with serving(gate) as live:
        with Raw(live) as first, Raw(live) as second:
            first.send(post())
            until(lambda: gate.entered == 1)  # the network has it; before, it would not look
            second.send(post())
            until(lambda: gate.inside == 2)
        until(lambda: gate.inside == 0)
        gate.open.set()
        assert live.ask(body=IMAGE)[0] == 200
        assert gate.metrics.answers["/detect", 499] == 2
        assert gate.passes[1:] == [1]  # the second was never looked at


def test_connections_are_counted(engine):
    with serving(engine, Limits(connections=3)) as live:
        several = [Raw(live) for _ in range(3)]
        until(lambda: live.ask("GET", "/health")[0] == 503)
        assert engine.metrics.dropped >= 1
        several.pop().socket.close()
        until(lambda: live.ask("GET", "/health")[0] == 200)
        for raw in several:
            raw.socket.close()


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + 40_000 * b"y" + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # https
    ],
)
def test_what_is_no_http(engine, data):
    with serving(engine) as live, Raw(live) as raw:
        status, content = raw.send(data).answer()
        assert status == 400 and content["error"]["code"] == "bad_request"
        assert raw.answer() is None


def test_nonsense_in_the_middle_of_a_body(engine):
    head = b"POST /detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(engine) as live, Raw(live) as raw:
        assert raw.send(head + b"5\r\nabcde\r\nzz\r\n").answer()[0] == 400
        assert raw.answer() is None
        until(lambda: engine.metrics.answers["/detect", 499] == 1)
        assert live.ask(body=IMAGE)[0] == 200


def test_requests_one_after_the_other_on_one_connection(engine):
    with serving(engine) as live, Raw(live) as raw:
        raw.send(post() + post(b"no image") + post())
        assert [raw.answer()[0] for _ in range(3)] == [200, 415, 200]


def test_an_answer_that_nobody_reads(engine):
    """The server cuts off, and what it could not send does not stay with the kernel."""
    with serving(engine, Limits(idle_seconds=0.5)) as live, Raw(live) as raw:
        page = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        raw.send(page * 2000)  # few bytes, all of which the server reads
        until(lambda: len(live.server.server_state.connections) == 1)
        until(lambda: not live.server.server_state.connections)
        with pytest.raises(ConnectionResetError):
            while raw.socket.recv(1 << 16):
                pass
        assert live.ask("GET", "/health")[0] == 200

"""The command: signals, a port in use, what is missing."""

import http.client
import signal
import socket
import sys

import pytest

from tests.serve.raw import Raw, post, until
from tests.serve.small_server import NET, Gate, encoded, picture, serving, started
from yolo.__main__ import main
from yolo.serve.limits import Limits
from yolo.serve.metrics import Metrics
from yolo.serve.server import listen


def error_line(capsys):
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_port_in_use(files, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", *files, "--port", str(port)]) == 1
    line = error_line(capsys)
    assert str(port) in line and "in use" in line and "--port" in line


def test_a_host_that_is_none(files, capsys):
    assert main(["serve", *files, "--host", "no.such.host.invalid"]) == 1
    assert "no.such.host.invalid" in error_line(capsys)


def test_what_is_not_installed(files, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "yolo.serve.app", raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["serve", *files]) == 1
    assert "pip install 'darknet-torch[serve]'" in error_line(capsys)


@pytest.mark.parametrize(
    "flags", [["--timeout", "0"], ["--timeout", "nan"], ["--queue", "0"], ["--port", "70000"]]
)
def test_flags_out_of_range(files, flags, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["serve", *files, *flags])


def test_both_protocols_of_the_internet(engine):
    with listen("localhost", 0) as listener:
        assert listener.getsockname()[1]


def test_what_was_asked_is_answered_before_the_end():
    """The server is told to stop while two requests wait; a third connection is idle."""
    gate = Gate(NET, Metrics())
    with serving(gate, Limits()) as live, Raw(live) as idle, Raw(live) as one, Raw(live) as two:
        one.send(post())
        two.send(post())
        until(lambda: gate.inside == 2)
        live.server.handle_exit(signal.SIGTERM, None)
        assert idle.closed_after() < 2
        with pytest.raises(ConnectionError):
            live.ask("GET", "/health")
        gate.open.set()
        assert one.answer()[0] == two.answer()[0] == 200
        assert one.answer() is None
        assert not live.server.force_exit


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_signal_ends_the_program_with_exit_code_0(files, number):
    with started(files) as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        png, jpeg = encoded(picture()), encoded(picture(), ".jpg")
        for body, status in ((png, 200), (png[:1000], 422), (jpeg[:1000] + jpeg[-2:], 200)):
            connection.request("POST", "/detect", body)
            answer = connection.getresponse()
            assert answer.status == status, answer.read()
            answer.read()
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""  # nor what the libraries say about damaged images

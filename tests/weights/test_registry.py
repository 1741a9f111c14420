"""Published weights: what is listed, and downloads from a server of the test's own."""

import hashlib
from http.server import BaseHTTPRequestHandler

import pytest

from tests.local_server import answering
from yolo import weights
from yolo.__main__ import main
from yolo.cfg import read
from yolo.network import Network
from yolo.weights import WeightsError, registry
from yolo.weights.registry import Entry, download

GOOD = b"\0\0\0\0\2\0\0\0\5\0\0\0" + bytes(8) + bytes(range(256)) * 40
PAGE = b"<!DOCTYPE html><html><body>Are you sure?</body></html>"
FILES = {
    "/good": (200, GOOD, len(GOOD)),
    "/page": (200, PAGE, len(PAGE)),
    "/short": (200, GOOD[:5000], len(GOOD)),  # the connection ends early
    "/cut": (200, GOOD[:5000], 5000),
    "/long": (200, GOOD * 3, 3 * len(GOOD)),
    "/gone": (404, b"", 0),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status, body, length = FILES[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with answering(Handler) as port:
        yield f"http://127.0.0.1:{port}"


def entry(url, **facts):
    known = {"bytes": len(GOOD), "sha256": hashlib.sha256(GOOD).hexdigest()} | facts
    return Entry("small", "small.cfg", url, **known)


def test_a_good_download(server, tmp_path):
    path = download(entry(f"{server}/good"), tmp_path / "a.weights")
    assert path.read_bytes() == GOOD
    assert [p.name for p in tmp_path.iterdir()] == ["a.weights"]


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("page", "is a web page, not a .weights file"),
        ("cut", "has 5000 bytes; small has 10260"),
        ("short", "5000"),
        ("long", "is larger than small"),
        ("gone", "404"),
    ],
)
def test_other_answers_leave_no_file(server, tmp_path, page, words):
    (tmp_path / "a.weights").write_bytes(b"before")
    with pytest.raises(WeightsError, match=words):
        download(entry(f"{server}/{page}"), tmp_path / "a.weights")
    assert [p.name for p in tmp_path.iterdir()] == ["a.weights"]
    assert (tmp_path / "a.weights").read_bytes() == b"before"


def test_another_file_of_the_right_size(server, tmp_path):
    with pytest.raises(WeightsError, match=r"its sha256 is .* the file is damaged or another"):
        download(entry(f"{server}/good", sha256="0" * 64), tmp_path / "a.weights")
    assert not list(tmp_path.iterdir())


def test_rounded_sizes_are_checked_too(server, tmp_path):
    facts = {"bytes": None, "sha256": None}
    assert download(entry(f"{server}/good", mib=0.0098, **facts), tmp_path / "a.weights")
    with pytest.raises(WeightsError, match="has 10260 bytes; small has 5 MiB"):
        download(entry(f"{server}/good", mib=5, **facts), tmp_path / "a.weights")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "nowhere"])
def test_addresses_that_are_none(url, tmp_path):
    with pytest.raises(WeightsError, match="is no address of the web"):
        download(entry(url), tmp_path / "a.weights")


def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(WeightsError, match="refused"):
        download(entry("http://127.0.0.1:1/x"), tmp_path / "a.weights")


def test_listed_networks_ship_and_have_the_sizes(cfg_folder, monkeypatch):
    monkeypatch.setattr(Network, "reset_parameters", lambda net, seed=0: None)  # sizes alone count
    for listed in registry.entries().values():
        assert listed.url.startswith("https://")
        net = Network(read(cfg_folder / listed.cfg))
        size = 20 + 4 * weights.count(net)
        listed.check(size, listed.sha256, listed.name)


def test_nothing_is_fetched_unless_asked(monkeypatch, capsys):
    monkeypatch.setattr("urllib.request.urlopen", None)
    assert main(["weights", "info", "yolov4-tiny"]) == 0
    out = capsys.readouterr().out
    assert "bytes: 24251276" in out and "037676f0d929c24e" in out
    assert main(["weights", "info", "yolov5"]) == 1
    assert "no such file, and no such published weights" in capsys.readouterr().err


def test_download_by_name(server, tmp_path, monkeypatch, capsys):
    small = entry(f"{server}/good", sha256=None)
    monkeypatch.setattr("yolo.weights.registry.entries", lambda: {"small": small})
    path = str(tmp_path / "a.weights")
    assert main(["weights", "info", "small", "--download", path]) == 0
    assert hashlib.sha256(GOOD).hexdigest() in capsys.readouterr().out
    assert main(["weights", "info", path]) == 0
    assert "version 0.2.5, 0 images seen, 2560 values" in capsys.readouterr().out

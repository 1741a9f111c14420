"""Cameras and streams: which frames come, what is lost, and how it ends."""

import socket
import time
from itertools import pairwise

import pytest

from tests.live.live_source import mjpeg
from yolo.data.live import Live, SourceError, SourceWarning, is_live, public_name


def watched(source, work=0.0):
    """The frames until the source fails, `work` seconds spent on each; and the error."""
    seen = []
    with pytest.raises(SourceError) as failed:
        for frame in source:
            seen.append(frame)
            time.sleep(work)
    return seen, str(failed.value)


def test_newest_skips_what_a_slow_reader_missed(camera):
    made, source = camera(80, every=0.002), Live(0, "newest", retries=0)
    seen, late = [], []
    with pytest.raises(SourceError):
        for frame in source:
            late.append(made.given - 1 - frame.number)
            seen.append(frame.number)
            time.sleep(0.02)
    assert seen == sorted(set(seen)) and len(seen) < 40
    assert sum(late) / len(late) < 2  # each was new when it came
    assert seen[-1] == 79  # the last one stays until it is asked for
    assert source.captured == 80 == len(seen) + source.dropped
    assert made.released == made.opened == 1


def test_every_keeps_the_source_waiting(camera):
    camera(30)
    source = Live("0", "every", retries=0)
    seen, message = watched(source, work=0.002)
    assert [f.number for f in seen] == list(range(30)) and source.dropped == 0
    assert [int(f.image[0, 0, 0]) for f in seen] == list(range(30))  # red comes first
    assert all(a.seconds < b.seconds for a, b in pairwise(seen))
    assert seen[0].seconds == 0 and seen[0].rate == 10.0
    assert "camera://0: no frame comes after 30 frames" in message


def test_a_reader_slower_than_the_timeout_is_no_failure_of_the_source(camera):
    camera(3)
    seen, message = watched(Live(0, "every", retries=0, timeout=0.01), work=0.25)
    assert len(seen) == 3 and "no frame comes" in message


def test_a_camera_that_is_not_there_is_tried_once(camera):
    made = camera()
    seen, message = watched(Live(3))
    assert seen == [] and made.opened == 1
    assert message == "camera://3: cannot be opened"


def test_a_lost_connection_is_made_again(camera):
    made, source = camera(3, None, 2, 4), Live("rtsp://h/s", "every", retries=2)
    with pytest.warns(SourceWarning) as said:
        seen, message = watched(source)
    assert "no frame comes after 3 frames, try 1/2" in str(said[0].message)
    assert [f.number for f in seen] == list(range(9))
    assert source.reconnections == 5 and made.opened == 6 and len(said) == 5
    assert "after 9 frames, 2 tries to connect again failed" in message


def test_a_source_that_hangs_is_left_in_bounded_time(camera):
    made = camera(2, hangs=True)
    started = time.perf_counter()
    seen, message = watched(Live(0, "every", timeout=0.1))
    made.forever.set()
    assert len(seen) == 2 and "no answer for 0.1 s" in message
    assert time.perf_counter() - started < 2


def test_a_fault_of_opencv_is_an_error_of_the_source(camera, monkeypatch):
    made = camera(2)
    monkeypatch.setattr(made, "get", lambda what: 1 / 0)
    assert "division by zero" in watched(Live(0))[1]


def test_leaving_early_releases_the_camera(camera):
    made = camera(10**6)
    for frame in Live(0):
        if frame.number > 5:
            break
    assert made.released == 1


def test_mjpeg_over_http():
    with mjpeg(12) as url:
        source = Live(url, "every", retries=1, timeout=5)
        with pytest.warns(SourceWarning):
            seen = [frame for frame, _ in zip(source, range(20), strict=False)]
    assert [f.number for f in seen] == list(range(20)) and source.reconnections == 1
    for frame in seen:  # JPEG
        assert frame.image[:, :, 0].mean() == pytest.approx(frame.number % 12, abs=3)
    assert "secret" not in seen[0].path and seen[0].path.endswith("/live")


def test_a_server_that_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"rtsp://u:secret@127.0.0.1:{mute.getsockname()[1]}/x"
        started = time.perf_counter()
        seen, message = watched(Live(address, timeout=0.3))
    assert seen == [] and "cannot be opened" in message and "secret" not in message
    assert time.perf_counter() - started < 3


def test_what_is_live(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").write_text("a file")
    yes = (0, "0", "/dev/video1", "rtsp://a/b", "HTTP://a/b.mjpg")
    no = (True, -1, "7", "a.mp4", "a/0", tmp_path, "file://x", None, "0²")
    assert all(map(is_live, yes)) and not any(map(is_live, no))
    assert public_name("rtsp://me:pass@[::1]:554/a/b?token=1") == "rtsp://[::1]:554/a/b"
    with pytest.raises(SourceError, match="newest, every"):
        Live(0, "some")
    with pytest.raises(SourceError, match="expected a camera"):
        Live("a.mp4")

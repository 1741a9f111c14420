"""Long lists: the index gives the same lines as reading the whole file, and never an old one."""

import logging
import os
import pickle
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo.data import listing
from yolo.data.listing import Listing, read_list
from yolo.data.lists import DataError, lines

PIECES = st.sampled_from(
    ["a.jpg", "b c.jpg", "\n", "\r", "\r\n", " ", "\t", "\u3000", "日本.png", "\ufeff", "é", "\x85"]
)


@pytest.fixture
def long(monkeypatch):
    """Every list counts as a long one, and is searched in small pieces."""
    monkeypatch.setattr(listing, "HELD", -1)
    monkeypatch.setattr(listing, "CHUNK", 5)


def expected(path):
    """The entries as reading the file whole gives them."""
    return [(text, n) for n, text in enumerate(lines(path), start=1) if text.strip()]


def entries(path):
    return [(entry.text, entry.line) for entry in Listing(path)]


@pytest.mark.parametrize("held", [500, -1])
@settings(max_examples=150, deadline=None)
@given(text=st.lists(PIECES, max_size=12).map("".join).map(str.encode) | st.binary(max_size=20))
def test_lines_are_those_of_the_whole_file(held, text, tmp_path_factory):
    path = tmp_path_factory.mktemp("list") / "l.txt"
    path.write_bytes(text.replace(b"\0", b"") or b"\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "HELD", held)
        patch.setattr(listing, "CHUNK", 3)
        assert entries(path) == expected(path)
        assert entries(path) == expected(path)  # from the index that now lies there
    assert (path.parent / "l.txt.index").exists() == (held < 0)


def test_single_entries_slices_and_copies(tmp_path, long):
    path = tmp_path / "l.txt"
    path.write_text("a.jpg\n\n\nb.jpg\nc.jpg")
    found = Listing(path)
    assert found[-1].text == "c.jpg" and found[1].line == 4
    assert [entry.text for entry in found[1:]] == ["b.jpg", "c.jpg"]
    assert [entry.text for entry in pickle.loads(pickle.dumps(found))] == [e.text for e in found]
    with pytest.raises(IndexError):
        found[3]


def test_a_changed_list_gets_a_new_index(tmp_path, long):
    path = tmp_path / "l.txt"
    path.write_text("a.jpg\nb.jpg\n")
    found = Listing(path)
    path.write_text("bb.jpg\n\na.png")
    assert entries(path) == [("bb.jpg", 1), ("a.png", 3)]
    with pytest.raises(DataError, match=r"l\.txt: changed while it is in use"):
        found[0]


def test_a_replaced_list_does_not_disturb_who_reads_the_old_one(tmp_path, long):
    path = tmp_path / "l.txt"
    path.write_text("a.jpg\nb.jpg\n")
    found = Listing(path)
    (tmp_path / "new").write_text("c.jpg\n")
    os.replace(tmp_path / "new", path)
    assert found[1].text == "b.jpg" and entries(path) == [("c.jpg", 1)]


def test_a_damaged_index_is_made_anew(tmp_path, long):
    path, index = tmp_path / "l.txt", tmp_path / "l.txt.index"
    path.write_text("a.jpg\n\nb.jpg\n")
    wanted = entries(path)
    whole = index.read_bytes()
    huge = np.frombuffer(whole, np.int64).copy()
    huge[3] = 1 << 60
    for broken in (b"", b"abc", whole[:24], bytes(8) + whole[8:], huge.tobytes()):
        index.write_bytes(broken)
        assert entries(path) == wanted
        assert index.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path, long, monkeypatch, caplog):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(listing, "replacing", refuse)
    caplog.set_level(logging.WARNING, "yolo.data")
    path = tmp_path / "l.txt"
    path.write_text("a.jpg\nb.jpg\n")
    assert entries(path) == [("a.jpg", 1), ("b.jpg", 2)]
    assert "cannot be kept (Permission denied)" in caplog.text
    assert os.listdir(tmp_path) == ["l.txt"]


@pytest.mark.parametrize("content", [b"a.jpg\0\n", b"a.jpg\nb.jp\0g"])
def test_zero_bytes_are_refused(tmp_path, long, content):
    (tmp_path / "l.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"l\.txt: holds zero bytes"):
        read_list(tmp_path / "l.txt")


def test_empty_lines_alone_are_no_list(tmp_path, long):
    (tmp_path / "l.txt").write_text("\n \n\r\n")
    with pytest.raises(DataError, match="no image in this list"):
        read_list(tmp_path / "l.txt")
    with pytest.raises(DataError, match=r"gone\.txt: No such file"):
        read_list(tmp_path / "gone.txt")


@pytest.mark.long
def test_ten_million_images_open_at_once(tmp_path):
    path, count = tmp_path / "l.txt", 10_000_000
    with path.open("w") as file:
        for first in range(0, count, 100_000):
            file.write("".join(f"images/{k:08d}.jpg\n" for k in range(first, first + 100_000)))
    Listing(path)
    started = time.perf_counter()
    found = Listing(path)
    assert time.perf_counter() - started < 0.5
    assert len(found) == count
    assert all(found[k].text == f"images/{k:08d}.jpg" for k in range(0, count, 99_991))

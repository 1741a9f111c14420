import errno
import os
import stat

import pytest

from yolo.files import atomic, replacing


def test_writes_text_and_bytes(tmp_path):
    atomic(tmp_path / "a", "grün\n")
    atomic(tmp_path / "b", b"\x00\xff")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "grün\n"
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) & 0o400


def test_failure_keeps_the_old_file_and_leaves_no_other(tmp_path):
    atomic(tmp_path / "a", "old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as file:
        file.write(b"half")
        1 / 0  # noqa: B018
    assert (tmp_path / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_errors_name_the_file_and_not_the_temporary_one(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as missing:
        atomic(tmp_path / "no" / "a", "x")
    assert missing.value.filename == str(tmp_path / "no" / "a")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as refused:
        atomic(tmp_path / "a", "x")
    assert refused.value.filename == str(tmp_path / "a") and not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError) as other, replacing(tmp_path / "a"):
        (tmp_path / "source").read_bytes()
    assert other.value.filename == str(tmp_path / "source")

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


def test_missing_folder_is_an_os_error(tmp_path):
    with pytest.raises(OSError):
        atomic(tmp_path / "no" / "a", "x")

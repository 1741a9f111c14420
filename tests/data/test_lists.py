"""`.data`, list and `.names` files of every origin."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo.data.listing import read_list
from yolo.data.lists import DataError, DataFile, read_names


def data(tmp_path, text, name="my.data"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def test_keys_and_comments(tmp_path):
    text = "# comment\n; another\n\nclasses = 3\ntrain=a.txt\r\n names : n.names \nclasses=9\n"
    file = DataFile.read(data(tmp_path, text))
    assert file.classes == 3  # the first of equal keys counts
    assert file.get("train") == "a.txt" and file.get("names") == "n.names"
    assert file.get("backup") is None and file.get("backup", "here") == "here"


def test_blanks_inside_paths_are_kept_and_removed_where_that_is_meant(tmp_path):
    (tmp_path / "my list.txt").write_text("a.jpg\n")
    (tmp_path / "plain.txt").write_text("a.jpg\n")
    file = DataFile.read(data(tmp_path, "train = my list.txt\nvalid = pl ain . txt\n"))
    assert file.file("train") == str(tmp_path / "my list.txt")
    assert file.file("valid") == str(tmp_path / "plain.txt")


def test_windows_paths(tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "train.txt").write_text("a.jpg\n")
    file = DataFile.read(data(tmp_path, "train = lists\\train.txt\r\nbackup=C:\\out\r\n"))
    assert file.file("train") == str(tmp_path / "lists" / "train.txt")
    assert file.get("backup") == "C:\\out"


def test_paths_are_seen_from_the_data_file_then_from_the_working_directory(tmp_path, monkeypatch):
    for folder in ("data", "here"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "l.txt").write_text("a.jpg\n")
    file = DataFile.read(data(tmp_path, "train = l.txt", "data/my.data"))
    assert file.file("train") == str(tmp_path / "here" / "l.txt")
    (tmp_path / "data" / "l.txt").write_text("a.jpg\n")
    assert file.file("train") == str(tmp_path / "data" / "l.txt")


@pytest.mark.parametrize(
    "text, message",
    [
        ("classes=3\nnonsense\n", r"my\.data:2: expected key = value, got nonsense"),
        ("=3\n", r"my\.data:1: expected key = value"),
        ("classes=many\n", r"my\.data:1: classes = many; expected a number"),
        ("classes=0\n", r"my\.data:1: classes = 0; expected a number from 1"),
        ("classes=1\n\ntrain=gone.txt\n", r"my\.data:3: train = gone\.txt: no such file; looked"),
        ("classes=1\ntrain=\n", r"my\.data:2: has no value for 'train'"),
        ("classes=1\n", r"my\.data: has no value for 'train'"),
        ("classes=1\0\n", r"my\.data: holds zero bytes"),
    ],
)
def test_errors_name_file_and_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        file = DataFile.read(data(tmp_path, text))
        assert file.classes == 1
        file.file("train")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.data: No such file"):
        DataFile.read(tmp_path / "gone.data")


def test_names_keep_blanks_and_empty_lines(tmp_path):
    path = data(tmp_path, "\ufefftraffic light\r\n\n #x\n", "my.names")
    assert read_names(path) == ["traffic light", "", " #x"]


def test_names_through_either_key(tmp_path):
    data(tmp_path, "a\nb\n", "n.names")
    assert DataFile.read(data(tmp_path, "labels = n.names")).names() == ["a", "b"]
    assert DataFile.read(data(tmp_path, "classes = 2")).names() is None


def test_lists_pass_over_empty_lines_and_know_their_lines(tmp_path):
    entries = read_list(data(tmp_path, "a.jpg\r\n\r\n b c.jpg\n", "l.txt"))
    assert [(e.text, e.line) for e in entries] == [("a.jpg", 1), (" b c.jpg", 3)]
    with pytest.raises(DataError, match=r"l\.txt: no image in this list"):
        read_list(data(tmp_path, "\n \n", "l.txt"))


@settings(max_examples=100, deadline=2000)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_file_or_an_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "my.data"
    path.write_bytes(content)
    for reader in (DataFile.read, read_list, read_names):
        try:
            reader(path)
        except DataError as error:
            str(error).encode()  # can be printed, whatever the bytes were

"""Detections in parts: the same as in one go, whatever the source, and done only once."""

import json
import shutil

import pytest

from yolo.__main__ import main
from yolo.data.lists import DataError
from yolo.engines.parts import Part, cut

KINDS = ("folder", "list", "bytes", "paths", "shards")


def detect(network, source, out, *flags):
    """The exit code of `detect --json-dir`."""
    return main(["detect", *network, *source, "--json-dir", str(out), "--part", "4", *flags])


def rows(out):
    """The lines of all parts, in order."""
    files = sorted(out.glob("part-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def objects(found):
    return [row["objects"] for row in found]


@pytest.fixture
def expected(network, pictures, tmp_path):
    """What `detect --json` writes of all images, one at a time."""
    path = tmp_path / "whole.json"
    flags = ["--json", str(path), "--no-images"]
    assert main(["detect", *network, str(pictures), *flags]) == 0
    found = json.loads(path.read_text())
    assert sum(map(len, objects(found))) > 20
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_parts_together_are_the_whole(network, sources, expected, tmp_path, kind):
    out = tmp_path / "out"
    assert detect(network, [sources[kind]], out, "--batch", "3") == 0
    found = rows(out)
    assert objects(found) == objects(expected)
    if kind != "shards":  # these count from 1 in each shard
        assert [row["frame_id"] for row in found] == [row["frame_id"] for row in expected]
    if kind == "folder":
        assert found == expected


def test_several_images_are_a_source(network, pictures, expected, tmp_path):
    assert detect(network, sorted(map(str, pictures.iterdir())), tmp_path / "out") == 0
    assert rows(tmp_path / "out") == expected


def test_parquet_holds_the_same(network, sources, expected, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert detect(network, [sources["folder"]], tmp_path / "out", "--form", "parquet") == 0
    files = sorted((tmp_path / "out").glob("part-*.parquet"))
    found = [row for file in files for row in parquet.read_table(file).to_pylist()]
    assert [row.pop("error") for row in found] == [None] * len(expected)
    assert found == expected


def test_done_parts_are_not_done_again(network, sources, expected, tmp_path, capsys):
    out = tmp_path / "out"
    assert detect(network, [sources["folder"]], out) == 0
    (out / "part-000001.jsonl").unlink()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    capsys.readouterr()
    assert detect(network, [sources["folder"]], out) == 0
    assert "2 of 3 parts are done already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert rows(out) == expected
    assert detect(network, [sources["folder"]], out) == 0


@pytest.mark.parametrize("flags", [["--thresh", "0.5"], ["--part", "5"], ["--form", "parquet"]])
def test_another_job_does_not_mix_with_it(network, sources, tmp_path, capsys, flags):
    out = tmp_path / "out"
    assert detect(network, [sources["folder"]], out) == 0
    assert detect(network, [sources["folder"]], out, *flags) == 1
    assert "holds detections of another job" in capsys.readouterr().err


def test_broken_images_are_told_and_do_not_stop_the_others(network, pictures, tmp_path, capsys):
    folder = tmp_path / "images"
    shutil.copytree(pictures, folder)
    (folder / "02.png").write_bytes(b"no image")
    (tmp_path / "l.txt").write_text("images/01.png\nimages/02.png\nimages/gone.png\n")
    assert detect(network, [str(tmp_path / "l.txt")], tmp_path / "out") == 1
    found = rows(tmp_path / "out")
    assert [("error" in row, row["frame_id"]) for row in found] == [(0, 1), (1, 2), (1, 3)]
    told = capsys.readouterr().err
    assert "02.png: not an image" in told and "l.txt:3: images/gone.png: no such file" in told


def test_parts_travel_as_text():
    part = Part(3, 12, "files", ("a\udcff.png", "日本.png"))
    assert Part.loads(part.dumps()).what == list(part.what)
    part.dumps().encode("ascii")


@pytest.mark.parametrize(
    "made, message",
    [
        (["a.txt", "b.png"], "a.txt: a list, table or shard must be the only source"),
        (["clip.mp4"], "clip.mp4: a video; parts are made of images"),
        (["bad.parquet"], "bad.parquet: no Parquet file"),
    ],
)
def test_sources_that_cannot_be_cut(tmp_path, made, message):
    for name in made:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=message):
        cut([str(tmp_path / name) for name in made], 4)

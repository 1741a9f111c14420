"""Checkpoints: complete or not there, and every damage found."""

import os
import resource

import pytest
import torch
from safetensors.torch import load_file, save_file

from yolo import checkpoint
from yolo.checkpoint import Checkpoint, CheckpointError, Series, read, write


def some(iteration=3):
    generator = torch.Generator().manual_seed(iteration)
    tensors = {
        "net.a": torch.rand(5, 3, generator=generator),
        "net.scalar": torch.tensor(2.5, dtype=torch.float64),
        "net.none": torch.zeros(0, 4),
        "metrics": torch.arange(6, dtype=torch.float64).reshape(3, 2).T,  # not contiguous
    }
    return Checkpoint({"iteration": iteration, "cfg": "[net]\nwidth=8 # grün\n"}, tensors)


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "a.ckpt", some())
    return tmp_path / "a.ckpt"


def test_round_trip(path):
    found, wanted = read(path), some()
    assert found.state == wanted.state | {"format": checkpoint.FORMAT}
    assert found.tensors.keys() == wanted.tensors.keys()
    for name, tensor in wanted.tensors.items():
        assert (
            torch.equal(found.tensors[name], tensor) and found.tensors[name].dtype == tensor.dtype
        )


def test_other_programs_can_read_the_tensors(path):
    assert torch.equal(load_file(path)["net.a"], some().tensors["net.a"])


def test_every_flipped_bit_is_found_or_without_effect(path):
    """All bits of the header, every seventh of the rest."""
    content, wanted = bytearray(path.read_bytes()), some()
    header = 8 + int.from_bytes(content[:8], "little")
    bits = [*range(8 * header), *range(8 * header, 8 * len(content), 7)]
    found = 0
    for bit in bits:
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        content[bit // 8] ^= 1 << bit % 8
        try:
            state = read(path)
        except CheckpointError:
            found += 1
        else:  # nothing that is read has changed
            assert all(torch.equal(state.tensors[k], t) for k, t in wanted.tensors.items()), bit
            assert state.state == wanted.state | {"format": checkpoint.FORMAT}
    assert found == len(bits)


def test_every_cut_is_found(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            read(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError):
        read(path)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff" * 100, b"\x10" + b"\0" * 30])
def test_other_files_are_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.ckpt"):
        read(path)


def test_files_of_other_programs_are_refused(path):
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="has no state"):
        read(path)


@pytest.mark.parametrize("state", ["[]", "{", "[" * 10000, '{"format": 99}', "null"])
def test_states_that_are_none(path, state):
    save_file({}, path, {"state": state, "digest": checkpoint.digest(state, {})})
    with pytest.raises(CheckpointError):
        read(path)


def test_a_file_that_may_not_grow_keeps_the_old_one(tmp_path):
    """As on a full disk: the system refuses to write on, in a process with a limit."""
    series = Series(tmp_path, "a")
    series.save(some(1))
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
        try:
            series.save(some(2))
        except OSError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert Series(tmp_path, "a").newest(print)[1].state["iteration"] == 1
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_old_ones_are_kept(tmp_path):
    series = Series(tmp_path, "a", keep=2)
    for iteration in (0, 100, 200, 300, 400):
        series.save(some(iteration))
        os.utime(series.path, ns=(iteration, iteration))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ckpt", "a_200.ckpt", "a_300.ckpt"]
    assert read(tmp_path / "a_200.ckpt").state["iteration"] == 200


def test_none_is_kept_when_none_is_wanted(tmp_path):
    series = Series(tmp_path, "a", keep=0)
    for iteration in (0, 100):
        series.save(some(iteration))
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_disk_without_links_gets_copies(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", refuse)
    series = Series(tmp_path, "a")
    for iteration in (0, 100):
        series.save(some(iteration))
    assert read(tmp_path / "a_0.ckpt").state["iteration"] == 0


def test_damaged_ones_are_named_and_passed_over(tmp_path):
    series = Series(tmp_path, "a", keep=3)
    for iteration in (0, 100, 200):
        series.save(some(iteration))
        os.utime(series.path, ns=(iteration, iteration))
    for name in ("a.ckpt", "a_100.ckpt"):
        content = bytearray((tmp_path / name).read_bytes())
        content[-1] ^= 1
        (tmp_path / name).write_bytes(content)
    said = []
    path, found = Series(tmp_path, "a").newest(said.append)
    assert path.name == "a_0.ckpt" and found.state["iteration"] == 0
    assert ["a.ckpt" in said[0], "a_100.ckpt" in said[1], len(said)] == [True, True, 2]
    (tmp_path / "a_0.ckpt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no good checkpoint among 3"):
        Series(tmp_path, "a").newest(said.append)


def test_names_with_blanks_and_stars(tmp_path):
    name = "my [net] *; ü"
    series = Series(tmp_path, name, keep=1)
    series.save(some(1)), series.save(some(2))
    assert Series(tmp_path, name).newest(print)[1].state["iteration"] == 2
    assert len(series.older()) == 1


def test_leftovers_of_killed_saves_are_removed(tmp_path):
    series = Series(tmp_path, "a")
    series.save(some())
    (tmp_path / ".a.ckpt.abcd1234").write_bytes(b"half")
    (tmp_path / ".ab.ckpt.abcd1234").write_bytes(b"of another run")
    series.sweep()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".ab.ckpt.abcd1234", "a.ckpt"]


def test_a_save_is_flushed_renamed_and_the_folder_flushed(tmp_path, monkeypatch):
    """In this order, or a power cut could leave neither the old nor the new."""
    calls = []
    fsync, replace = os.fsync, os.replace

    def flush(handle):
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def rename(a, b):
        calls.append("rename")
        replace(a, b)

    monkeypatch.setattr("os.fsync", flush), monkeypatch.setattr("os.replace", rename)
    write(tmp_path / "a.ckpt", some())
    assert calls == ["file", "rename", "folder"]


def test_digest_depends_on_all_of_it():
    one = {"a": torch.zeros(2, 3)}
    others = [
        ("x", one),
        ("", {"b": torch.zeros(2, 3)}),
        ("", {"a": torch.zeros(3, 2)}),
        ("", {"a": torch.zeros(2, 3, dtype=torch.int32)}),
        ("", {"a": torch.full((2, 3), -0.0)}),
    ]
    assert checkpoint.digest("", one) not in {checkpoint.digest(*other) for other in others}

"""Files, folders and classes of unusual names through every command: each works, or says in one
line why not; none is taken for a flag, a formula, a pattern or a command of the shell."""

import os
import warnings

import cv2
import numpy as np
import pytest

from yolo import weights
from yolo.__main__ import main
from yolo.cfg import parse
from yolo.network import Network

CFG = """[net]
width=32
height=32
channels=3
batch=2
[convolutional]
filters=16
size=3
stride=16
pad=1
[yolo]
mask=0,1
anchors=10,14, 30,24
num=2
classes=3
"""
NAMES = {
    "mixture": "größe; $(touch pwned) `a` $^ %s '\x1b[31m",
    "spaces": "two  blanks and more",
    "unicode": "größe 日本 é 🦊",
    "dash": "-rf",
    "option": "--help",
    "shell": "; touch pwned; $(touch pwned) `touch pwned` | touch pwned & touch pwned",
    "quotes": 'it\'s "quoted"',
    "pattern": "[a]*?{b}",
    "percent": "%s %d %(x)s {0} {x!r}",
    "formula": "$\\frac$ $x^",
    "tab": "a\tb",
    "control": "a\x1b[31mb\x7f",
    "dots": "..a..b..",
    "bytes": os.fsdecode(b"\xff\xfe"),
    "equals": "a=b:c#d",
    "images": "images",
    "long": "n" * 200,
}


pytestmark = pytest.mark.usefixtures("one_thread", "no_chart", "few_drawn")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """make(name): a working folder of that name with a data set and a network of that name."""
    net = Network(parse(CFG))
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)

    def make(name, listed=True):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        rng = np.random.default_rng(0)
        for image in (f"{name}.png", "b.png"):
            pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
            (folder / image).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
            text = "1 .5 .5 .4 .4\n0 .3 .3 .2 .1\n"
            (folder / (image[:-4] + ".txt")).write_text(text)
        lines = (f"{name}.png\n" if listed else "") + "b.png\n"
        (folder / "list.txt").write_bytes(os.fsencode(lines))
        classes = f"{name}\nb\nc\n" if listed else "a\nb\nc\n"
        (folder / f"{name}.names").write_bytes(os.fsencode(classes))
        text = f"classes=3\ntrain=list.txt\nvalid=list.txt\nnames={name}.names\n"
        if not listed:
            text = text.replace(f"{name}.names", "")
        (folder / f"{name}.data").write_bytes(os.fsencode(text))
        (folder / f"{name}.cfg").write_text(CFG)
        weights.save(net, folder / f"{name}.weights")
        return folder

    return make


def commands(name):
    """(arguments, exit code) of every command on the files of that name."""
    model, data = [f"./{name}.cfg", f"./{name}.weights"], f"--data={name}.data"
    quick = ["--iterations=1", "--workers=0", f"--out=out {name}"]
    return [
        (["summary", model[0]], 0),
        (["data", "check", f"./{name}.data", f"--picture={name}-check.png", "--workers=0"], 1),
        (["data", "check", f"./{name}.data", "--json", f"--picture={name}2.png", "--workers=0"], 1),
        (["data", "split", f"./{name}.data", f"--out=split {name}", "--valid=0.5"], 0),
        (["data", "convert", f"./{name}.data", f"./{name}.json", "--to=coco"], None),
        (["data", "convert", f"./{name}.data", f"./voc {name}", "--to=voc"], None),
        (["data", "convert", f"./{name}.data", f"./dark {name}", "--to=darknet"], None),
        (["anchors", f"./{name}.data", "--num=2", f"--cfg={name}.cfg", f"--out=a {name}"], 0),
        (["map", *model, data, f"--plots=plots {name}", f"--json=map {name}.json"], 0),
        (["map", *model, data, "--protocol=voc07"], 0),
        (["valid", *model, data, f"--out=valid {name}", "--format=voc"], 0),
        (["valid", *model, data, f"--out=valid {name}", "--format=plain"], 0),
        (["valid", *model, data, f"--out=valid {name}", "--format=coco"], 0),
        (["recall", *model, data, f"--json=recall {name}.json"], 0),
        (["detect", *model, f"./{name}.png", f"--names={name}.names", f"--out=d {name}",
          "--thresh=0.01", f"--json=d {name}.json"], 0),
        (["train", model[0], data, *quick], 0),
    ]  # fmt: skip


def run(arguments, code, capsys):
    """Runs a command as the shell would; gives what it said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = main(arguments)
    captured = capsys.readouterr()
    errors = [line for line in captured.err.split("\n") if line.startswith("error")]
    assert found == code if code is not None else found in (0, 1), (arguments, captured.err)
    if found and arguments[:2] != ["data", "check"]:
        assert len(errors) == 1 and "Traceback" not in captured.err
    assert "\x1b[31m" not in captured.out + captured.err
    return captured


@pytest.mark.parametrize(
    "key",
    ["mixture", *(pytest.param(key, marks=pytest.mark.long) for key in NAMES if key != "mixture")],
)
def test_every_command(key, place, capsys):
    folder = place(NAMES[key])
    for arguments, code in commands(NAMES[key]):
        run(arguments, code, capsys)
    everything = [*folder.rglob("*"), *folder.parent.iterdir()]
    assert not [path for path in everything if path.name == "pwned"]


@pytest.mark.long
def test_a_newline_in_a_name(place, capsys):
    """No list can hold it; a command that is given the file itself works."""
    name = "a\nb"
    place(name, listed=False)
    for arguments, code in commands(name):
        run(arguments, None if arguments[0] == "data" else code, capsys)


@pytest.mark.parametrize("name", ["-rf", pytest.param("--help", marks=pytest.mark.long)])
def test_two_dashes_end_the_flags(name, place, capsys):
    place(name)
    run(["summary", "--", f"{name}.cfg"], 0, capsys)
    run(["data", "check", "--workers=0", "--picture=p.png", "--", f"{name}.data"], 1, capsys)
    run(["anchors", "--num=2", "--width=32", "--height=32", "--", f"{name}.data"], 0, capsys)
    files = [f"{name}.cfg", f"{name}.weights", f"{name}.png"]
    run(["detect", "--no-images", "--", *files], 0, capsys)

"""cfg lint: each mistake is found where it stands, and sound networks are left alone."""

import pytest

from yolo.__main__ import main
from yolo.inspection.lint import ERROR, NOTE, WARNING, lint

SOUND = """[net]
width=64
height=64
channels=3
batch=8
subdivisions=2
max_batches=1000
policy=steps
steps=800
scales=.1
[convolutional]
filters=8
size=3
stride=2
pad=1
batch_normalize=1
activation=leaky
[convolutional]
filters=14
activation=linear
[yolo]
classes=2
num=4
mask=0,1
anchors=4,4, 8,8, 16,16, 32,32
[route]
layers=0
[maxpool]
stride=2
[convolutional]
filters=14
activation=linear
[yolo]
classes=2
num=4
mask=2,3
anchors=4,4, 8,8, 16,16, 32,32
"""


@pytest.fixture
def findings(tmp_path):
    """findings((old, new), ...) of the sound file with changes -> [(line, kind, text)]."""

    def run(*changes):
        text = SOUND
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "net.cfg"
        path.write_text(text)
        return [(f.line, f.kind, f.text) for f in lint(path)]

    return run


def test_a_sound_file_has_no_findings(findings):
    assert findings() == []


def test_shipped_files_have_nothing_but_notes(cfg_folder):
    paths = sorted(cfg_folder.glob("*.cfg"))
    assert len(paths) > 20
    for path in paths:
        assert [f for f in lint(path) if f.kind != NOTE] == [], path


MISTAKES = {
    ("filters=8", "filtres=8"): (12, WARNING, "[convolutional] has no key 'filtres'; did you mean"),
    ("filters=14", "filters=18"): (22, ERROR, "needs 14 channels for classes=2 and 2 anchors"),
    ("classes=2", "classes=3"): (22, ERROR, "[yolo] needs 16 channels for classes=3"),
    ("width=64", "width=66"): (2, WARNING, "width=66 is no multiple of 4, the stride of the"),
    ("batch=8", "batch=9"): (5, WARNING, "batch=9 is no multiple of subdivisions=2"),
    ("num=4\n", "num=3\n"): (25, WARNING, "anchors: 4 are given, of which the first num=3 count"),
    ("mask=2,3", "mask=1,3"): (36, NOTE, "mask: anchor 1 belongs to another head already"),
    ("mask=2,3", "mask=3"): (31, WARNING, None),
    ("mask=0,1", "mask=0,0"): (24, WARNING, "mask names an anchor twice"),
    ("mask=0,1", "mask=0,4"): (24, ERROR, "mask must name anchors 0..3"),
    ("activation=linear", "activation=leaky"): (20, WARNING, "expects linear"),
    ("activation=linear", "batch_normalize=1"): (20, WARNING, "right before the head"),
    ("\npad=1", "\npad=1\npadding=2"): (16, NOTE, "padding has no effect beside pad"),
    ("steps=800", "steps=2000"): (9, WARNING, "2000 is never reached, max_batches being 1000"),
    ("scales=.1", "scales=.1\ngamma=2"): (11, NOTE, "gamma has no effect with policy=steps"),
    ("scales=.1", "scales=.1\nburn_in=1000"): (11, WARNING, "lasts longer than max_batches=1000"),
    ("scales=.1", "scales=.1\nB1=.8"): (11, NOTE, "B1 has no effect without adam=1"),
    ("max_batches=1000\n", ""): (1, NOTE, "max_batches is not set"),
    ("layers=0", "layers=0\nstream=1"): (28, NOTE, "[route] stream has no effect"),
    ("[route]", "[rout]"): (26, ERROR, "[rout] is not a known section; did you mean 'route'?"),
    ("width=64", "width=6O"): (2, WARNING, "width='6O' is read as '6'"),
    ("[maxpool]", "[convolutional]\n[route]\nlayers=0\n[maxpool]"): (28, WARNING, "is read by no"),
    ("max_batches=1000", "max_batches"): (7, WARNING, "has no '='"),
    ("policy=steps", "policy=stepps"): (8, ERROR, "did you mean 'steps'?"),
}


@pytest.mark.parametrize("change", MISTAKES, ids=lambda change: change[1].replace("\n", " "))
def test_mistakes_are_found_at_their_lines(findings, change):
    line, kind, words = MISTAKES[change]
    if words is None:  # a mask of other length makes the filters wrong
        line, kind, words = 34, ERROR, "must be (classes + 5) * 1 = 7"
    found = findings(change)
    assert any(f[0] == line and f[1] == kind and words in f[2] for f in found), found


def test_all_errors_are_found_in_one_go(findings):
    found = findings(("filters=14", "filters=15"), ("stride=2\n[conv", "stride=-2\n[conv"))
    assert [kind for _, kind, _ in found].count(ERROR) == 2


def test_heads_are_compared(findings):
    two = [("filters=14\nactivation=linear\n[yolo]\nclasses=2\nnum=4\nmask=2,3",
            "filters=16\nactivation=linear\n[yolo]\nclasses=3\nnum=4\nmask=2,3")]  # fmt: skip
    assert any(kind == ERROR and "where layer 2 has 2" in text for _, kind, text in findings(*two))
    swapped = [("mask=0,1", "mask=9"), ("mask=2,3", "mask=0,1"), ("mask=9", "mask=2,3")]
    assert any("whose grid is finer (32 x 32)" in text for _, _, text in findings(*swapped))


def test_command_line(tmp_path, capsys):
    path = tmp_path / "net.cfg"
    path.write_text(SOUND.replace("layers=0", "layers=0\nstream=1"))
    assert main(["cfg", "lint", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}:28: note: [route] stream has no effect\n"
    assert main(["cfg", "lint", "--quiet", str(path)]) == 0
    assert capsys.readouterr().out == ""
    path.write_text(SOUND.replace("width=64", "widht=64"))
    assert main(["cfg", "lint", str(path)]) == 1
    assert "error: [net] needs width, height and channels" in capsys.readouterr().out
    assert main(["cfg", "lint", str(tmp_path / "absent.cfg")]) == 1
    assert capsys.readouterr().err.startswith("error: ")

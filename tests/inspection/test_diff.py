"""cfg diff: what two files mean, not how they are written."""

import pytest

from yolo.__main__ import main
from yolo.inspection.diff import diff

A = """[net]
width=32
height=32
channels=3
[convolutional]
filters=8
size=3
pad=1
activation=leaky
[convolutional]
filters=8
size=3
pad=1
activation=leaky
[shortcut]
from=-2
[route]
layers=-1,-3
"""


@pytest.fixture
def lines(tmp_path):
    def run(*changes):
        text = A
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        a, b = tmp_path / "a.cfg", tmp_path / "b.cfg"
        a.write_text(A)
        b.write_text(text)
        return [line.replace(f"{tmp_path}/", "") for line in diff(a, b)]

    return run


@pytest.mark.parametrize(
    "change",
    [
        ("[convolutional]", "# words\n[conv]"),
        ("pad=1", "padding=1"),
        ("size=3\npad=1", "pad=1\nstride=1\nsize=3"),
        ("layers=-1,-3", "layers=2,0"),
        ("from=-2", "from=0\nactivation=linear"),
        ("channels=3", "channels=3\nmomentum=.9\npolicy=constant"),
    ],
)
def test_the_same_meaning(lines, change):
    assert lines(change) == []


def test_keys_that_differ(lines):
    found = lines(("activation=leaky", "activation=mish\nstride=1"), ("width=32", "width=64"))
    assert found[:2] == ["[net]", "  width: 32 -> 64"]
    assert "layer 0 [convolutional] a.cfg:5 -> b.cfg:5" in found
    assert "  activation: leaky -> mish" in found
    assert "  stride: (1, 1) -> (1, 1)" not in found
    assert found[-2] == "a.cfg: 4 layers, 808 parameters, 0.00 GFLOP"


def test_an_inserted_layer_moves_the_others(lines):
    found = lines(("[shortcut]\nfrom=-2", "[activation]\nactivation=relu\n[shortcut]\nfrom=0"),
                  ("layers=-1,-3", "layers=-1,0"))  # fmt: skip
    assert [line for line in found if line.startswith(("+", "-"))] == [
        "+ layer 2 [activation] b.cfg:15"
    ]
    # the shortcut now reads the new layer; the route reads what it did
    assert [line for line in found if "reads" in line] == ["  reads layers 1, 0 -> 2, 0"]


def test_another_source_is_a_difference(lines):
    assert "  reads layers 2, 0 -> 2, 1" in lines(("layers=-1,-3", "layers=-1,-2"))


def test_command_line(tmp_path, capsys, cfg_folder):
    yolov3, voc = str(cfg_folder / "yolov3.cfg"), str(cfg_folder / "yolov3-voc.cfg")
    assert main(["cfg", "diff", yolov3, yolov3]) == 0
    assert capsys.readouterr().out == "the same network, trained alike\n"
    assert main(["cfg", "diff", yolov3, voc]) == 1
    out = capsys.readouterr().out
    assert out.count("  filters: 255 -> 75") == 3 and out.count("  classes: 80 -> 20") == 3
    assert "61,949,149 parameters" in out

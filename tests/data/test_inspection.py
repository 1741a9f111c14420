"""`data check`: every kind of fault planted once, found where it is and nothing else."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from yolo.__main__ import main
from yolo.data import DataError
from yolo.data.inspection import Inspection


def noise(seed, shape=(40, 60, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def png(path, seed, shape=(40, 60, 3), dtype=np.uint8):
    path.write_bytes(cv2.imencode(path.suffix, noise(seed, shape).astype(dtype))[1].tobytes())


@pytest.fixture
def folder(tmp_path):
    """Two training images and a validation image without a fault; 3 classes."""
    (tmp_path / "set.names").write_text("a\nb\nc\n")
    (tmp_path / "set.data").write_text(
        "classes=3\ntrain=train.txt\nvalid=valid.txt\nnames=set.names\n"
    )
    for k in range(3):
        png(tmp_path / f"{k}.png", k)
        (tmp_path / f"{k}.txt").write_text(f"{k} 0.5 0.5 0.25 0.5\n")
    (tmp_path / "train.txt").write_text("0.png\n1.png\n")
    (tmp_path / "valid.txt").write_text("2.png\n")
    return tmp_path


def train_on(folder, *names):
    """Appends images to the training list, each with one box; gives the first one's line."""
    text = (folder / "train.txt").read_text()
    (folder / "train.txt").write_text(text + "".join(f"{name}\n" for name in names))
    for name in names:
        label = (folder / name).with_suffix(".txt")
        if not label.exists():
            label.write_text("0 0.5 0.5 0.25 0.5\n")
    return 1 + text.count("\n")


def findings(folder, workers=0, **settings):
    """[(file name, line, kind, is an error)] of the .data file."""
    inspection = Inspection(folder / "set.data", **settings)
    found = list(inspection.run(workers))
    assert all(str(f).startswith(f"{f.path}:{f.line}: " if f.line else f.path) for f in found)
    return [(f.path.split("/")[-1], f.line, f.kind, f.error) for f in found]


def test_nothing_wrong_and_counts_by_hand(folder):
    inspection = Inspection(folder / "set.data", size=(100, 200))
    assert list(inspection.run(0)) == [] and inspection.errors == 0
    train, valid = inspection.census["train"], inspection.census["valid"]
    assert (train.images, train.boxes, dict(train.classes)) == (2, 2, {0: 1, 1: 1})
    assert valid.to_dict(["a", "b", "c"])["classes"] == {"c": 1}
    assert train.sides.sum() == 2 and train.aspects.sum() == 2
    # 0.25 of 200 by 0.5 of 100: 50 by 50 pixels
    row, column = np.argwhere(train.sides)[0]
    assert row == column and train.aspects[29:31].sum() == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_missing_and_broken_images(folder, workers):
    png(folder / "cut.jpg", 9)
    data = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "page.png").write_text("<html>")
    png(folder / "bomb.png", 8)
    data = bytearray((folder / "bomb.png").read_bytes())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    (folder / "bomb.png").write_bytes(data)
    line = train_on(folder, "gone.png", "cut.jpg", "page.png", "bomb.png")
    expected = [
        ("train.txt", line, "missing image", True),
        *(("train.txt", line + k, "broken image", True) for k in (1, 2, 3)),
    ]
    assert findings(folder, workers) == expected


def test_unusual_pixels(folder):
    png(folder / "grey.png", 5, (40, 60))
    png(folder / "deep.png", 6, dtype=np.uint16)
    png(folder / "deep.tiff", 6, dtype=np.uint16)
    Image.fromarray(noise(7, (40, 60, 4)), "CMYK").save(folder / "ink.jpg")
    png(folder / "clear.png", 8, (40, 60, 4))
    (folder / "deep.ppm").write_bytes(b"P6 # x\n6 4\n1023\n" + bytes(6 * 4 * 3 * 2))
    line = train_on(folder, "grey.png", "deep.png", "deep.tiff", "ink.jpg", "clear.png", "deep.ppm")
    kinds = ["grey image", "16-bit image", "16-bit image", "CMYK image"]
    expected = [("train.txt", line + k, kind, False) for k, kind in enumerate(kinds)]
    assert findings(folder) == [*expected, ("train.txt", line + 5, "16-bit image", False)]


def test_labels(folder):
    (folder / "0.txt").write_text(
        "3 .5 .5 .2 .2\n"  # beyond the classes
        "0 nan .5 .2 .2\n"
        "0 1.5 .5 .2 .2\n"
        "0 .5 .5 .2\n"
        "0 .5 .5 0 .2\n"  # degenerate
        "0 .5 .5 .2 .2\n\n"
        "0 0.50 .5 .2 .2\n"  # the same as line 6
        "1 .95 .5 .3 .2\n"  # beyond the edge
        "1 .5 .5 .001 .2\n"  # below a pixel at 416
    )
    (folder / "1.txt").unlink()
    errors = [("0.txt", line, "broken label", True) for line in (1, 2, 3, 4)]
    warnings = [
        ("0.txt", 5, "mended label", False),
        ("0.txt", 8, "duplicate box", False),
        ("0.txt", 9, "box beyond the image", False),
        ("0.txt", 10, "vanishing box", False),
        ("train.txt", 2, "no label file", False),
    ]
    assert findings(folder) == [*errors, *warnings]


def test_a_box_may_reach_a_pixel_beyond_the_image(folder):
    (folder / "0.txt").write_text("0 .9 .5 0.219 .2\n")  # 0.0095 of 60 pixels
    assert findings(folder) == []


def test_the_same_image_twice(folder):
    for copy in ("copy.png", "leak.png"):
        (folder / copy).write_bytes((folder / "0.png").read_bytes())
    train_on(folder, "copy.png")
    (folder / "leak.txt").write_text("")
    (folder / "valid.txt").write_text("2.png\nleak.png\n")
    assert findings(folder) == [
        ("train.txt", 3, "duplicate image", False),
        ("valid.txt", 2, "in train and valid", True),
    ]


def test_one_list_for_both(folder):
    text = (folder / "set.data").read_text()
    (folder / "set.data").write_text(text.replace("valid.txt", "train.txt"))
    assert findings(folder) == [("set.data", 3, "in train and valid", True)]


def test_numbers_of_classes_that_differ(folder):
    (folder / "set.names").write_text("a\nb\n")
    assert findings(folder) == [("set.data", 4, "number of classes", True)]
    (folder / "set.names").write_text("a\nb\nc\n")
    assert findings(folder, classes=4)[:1] == [("set.data", 1, "number of classes", True)]


def test_no_list_at_all(folder):
    (folder / "set.data").write_text("classes=3\n")
    with pytest.raises(DataError, match="neither a train nor a valid list"):
        Inspection(folder / "set.data")


def test_many_images_by_processes_give_what_one_gives(folder):
    for k in range(10, 60):
        png(folder / f"{k}.png", k % 40, (20, 20, 3))
    train_on(folder, *(f"{k}.png" for k in range(10, 60)))
    one, two = (Inspection(folder / "set.data") for _ in range(2))
    assert list(one.run(0)) == list(two.run(2)) and one.kinds == {(False, "duplicate image"): 10}
    assert one.census["train"].to_dict() == two.census["train"].to_dict()


# ---- the command ----


def test_command_prints_counts_and_exits_by_errors(folder, capsys):
    picture = folder / "p.png"
    arguments = ["data", "check", str(folder / "set.data"), "--picture", str(picture)]
    assert main([*arguments, "--workers", "0"]) == 0
    out = capsys.readouterr().out
    assert "train: 2 images, 2 boxes" in out and "nothing wrong was found" in out
    assert cv2.imread(str(picture)).shape[2] == 3
    train_on(folder, "gone.png")
    assert main([*arguments, "--workers", "0"]) == 1
    out = capsys.readouterr().out
    assert f"error: {folder}/train.txt:3: gone.png: no such file" in out
    assert "errors: 1 x missing image" in out


def test_command_as_json(folder, capsys):
    (folder / "2.txt").write_text("1 .5 .5 .2 .2\n1 .5 .5 .2 .2\n")
    flags = ["--json", "--workers", "0", "--picture", str(folder / "p.png"), "--width", "64"]
    assert main(["data", "check", str(folder / "set.data"), *flags]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["errors"] == 0 and content["warnings"] == 1
    assert content["findings"][0]["line"] == 2 and content["size"] == {"height": 416, "width": 64}
    assert content["classes_without_a_box"] == ["c"]


def test_real_data(shared):
    inspection = Inspection(shared / "data/mask/mask.data")
    found = list(inspection.run(2))
    assert inspection.census["train"].boxes == 3321 and inspection.errors == 0
    assert {f.kind for f in found} == {"duplicate image"}

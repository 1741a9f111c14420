"""Data sets from one format to the others and back: nothing lost that the format can hold."""

import contextlib
import io
import json
import random
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from yolo.__main__ import main
from yolo.data import Dataset
from yolo.data.formats import FormatError, coco, voc


@pytest.fixture
def folder(tmp_path):
    """A Darknet data set with six decimals, as people write them; one image without objects."""
    rng = random.Random(0)
    (tmp_path / "set" / "images").mkdir(parents=True)
    names = ["a b.png", "größe 2.png", "c;3.png"]
    for k, name in enumerate(names):
        image = np.full((30 + 7 * k, 41 + 5 * k, 3), 50 * k, np.uint8)
        data = cv2.imencode(".png", image)[1].tobytes()
        (tmp_path / "set" / "images" / name).write_bytes(data)
        rows = [
            f"{rng.randrange(2)} {rng.uniform(0.3, 0.7):.6f} {rng.uniform(0.3, 0.7):.6f} "
            f"{rng.uniform(0.001, 0.5):.6f} {rng.uniform(0.001, 0.5):.6f}\n"
            for _ in range(8 * (k != 1))
        ]
        (tmp_path / "set" / "images" / name).with_suffix(".txt").write_text("".join(rows))
    (tmp_path / "set" / "train.txt").write_text("".join(f"images/{n}\n" for n in names))
    (tmp_path / "set" / "set.names").write_text("red fox\n<b>&\n")
    data = "classes=2\ntrain=train.txt\nnames=set.names\n"
    (tmp_path / "set" / "set.data").write_text(data)
    return tmp_path


def convert(*arguments):
    assert main(["data", "convert", *map(str, arguments)]) == 0


def labels(data, part="train"):
    """{image name: rows of numbers as text}."""
    dataset = Dataset.from_data(data, part)
    found = {}
    for k in range(len(dataset)):
        _, label, _ = dataset.boxes(k)
        rows = [line.split() for line in Path(label).read_text().splitlines()]
        name = dataset.image_path(k).split("/")[-1]
        found[name] = [[row[0], *(f"{float(v):.6f}" for v in row[1:])] for row in rows]
        assert all(float(v) == float(f"{float(v):.6f}") for row in rows for v in row[1:])
    return found


def test_darknet_to_coco_and_back(folder, capsys):
    data = folder / "set" / "set.data"
    convert(data, folder / "a.json", "--to", "coco")
    assert "16 x areas are those of the boxes" in capsys.readouterr().out
    images = folder / "set" / "images"
    convert(folder / "a.json", folder / "back", "--to", "darknet", "--images", images)
    assert labels(folder / "back" / "back.data") == labels(data)
    assert (folder / "back/back.names").read_text() == (folder / "set/set.names").read_text()


def test_darknet_to_voc_and_back(folder):
    data = folder / "set" / "set.data"
    convert(data, folder / "voc", "--to", "voc")
    names = folder / "set" / "set.names"
    convert(folder / "voc", folder / "back", "--to", "darknet", "--names", names, "--link")
    assert labels(folder / "back" / "back.data") == labels(data)
    assert (folder / "back" / "images" / "a b.png").is_symlink()


def test_voc_corners_count_from_one(folder):
    image = folder / "set" / "images" / "a b.png"  # 41 x 30
    image.with_suffix(".txt").write_text(f"1 {20 / 41} 0.5 {20 / 41} {10 / 30}\n")
    convert(folder / "set" / "set.data", folder / "voc", "--to", "voc")
    tree = ElementTree.parse(folder / "voc" / "Annotations" / "a b.xml")
    box = [tree.findtext(f"object/bndbox/{k}") for k in ("xmin", "ymin", "xmax", "ymax")]
    assert box == ["11", "11", "31", "21"] and tree.findtext("object/name") == "<b>&"
    assert tree.findtext("size/width") == "41" and tree.findtext("object/difficult") == "0"


def official(shared):
    return shared / "data/coco_val50/instances_coco_val50.json"


def test_coco_through_coco_keeps_everything(shared, tmp_path):
    images = shared / "data/coco_val50/images"
    convert(official(shared), tmp_path / "b.json", "--to", "coco", "--images", images)
    old, new = (json.loads(p.read_text()) for p in (official(shared), tmp_path / "b.json"))
    assert len(old["annotations"]) == len(new["annotations"]) == 381
    mine = {a["id"]: a for a in new["annotations"]}
    for a in old["annotations"]:
        assert mine[a["id"]] == a
    strip = [{k: v for k, v in c.items() if k != "supercategory"} for c in old["categories"]]
    assert [{k: c[k] for k in strip[0]} for c in new["categories"]] == strip
    assert new["images"] == old["images"]


def test_coco_to_darknet_is_the_official_set(shared, tmp_path, capsys):
    images = shared / "data/coco_val50/images"
    flags = ["--images", images, "--part", "valid", "--link"]
    convert(official(shared), tmp_path / "dark", "--to", "darknet", *flags)
    out = capsys.readouterr().out
    assert "5 x crowd regions were left out" in out
    ours = Dataset.from_data(tmp_path / "dark" / "dark.data", "valid")
    theirs = Dataset.from_data(shared / "data/coco_val50/coco_val50.data", "valid")
    known = {theirs.image_path(k).split("/")[-1]: theirs.boxes(k)[0] for k in range(len(theirs))}
    assert len(ours) == len(known) == 49
    for k in range(len(ours)):
        boxes = ours.boxes(k)[0]
        wanted = known[ours.image_path(k).split("/")[-1]]
        key = lambda rows: rows[np.lexsort(rows.round(4).T)]  # noqa: E731
        np.testing.assert_allclose(key(boxes), key(wanted), atol=2e-6)


def test_coco_to_darknet_and_back_gives_the_same_boxes(shared, tmp_path):
    images = shared / "data/coco_val50/images"
    convert(official(shared), tmp_path / "d", "--to", "darknet", "--images", images, "--link")
    convert(tmp_path / "d" / "d.data", tmp_path / "back.json", "--to", "coco")
    old, new = (json.loads(p.read_text()) for p in (official(shared), tmp_path / "back.json"))
    boxes = [
        sorted((a["image_id"], a["category_id"], *a["bbox"]) for a in content["annotations"]
               if not a["iscrowd"])
        for content in (old, new)
    ]  # fmt: skip
    assert boxes[0] == boxes[1]  # ids, Darknet's categories and two decimals: exactly


def test_crowds_become_difficult_and_say_so(shared, tmp_path, capsys):
    images = shared / "data/coco_val50/images"
    convert(official(shared), tmp_path / "v", "--to", "voc", "--images", images, "--link")
    assert "5 x crowd regions became difficult boxes" in capsys.readouterr().out
    convert(tmp_path / "v", tmp_path / "v.json", "--to", "coco")
    annotations = json.loads((tmp_path / "v.json").read_text())["annotations"]
    assert sum(a.get("difficult", 0) for a in annotations) == 5
    assert not any(a["iscrowd"] for a in annotations)
    convert(tmp_path / "v", tmp_path / "w", "--to", "voc", "--link")
    for file in (tmp_path / "v" / "Annotations").glob("*.xml"):
        assert (tmp_path / "w" / "Annotations" / file.name).read_text() == file.read_text()


def test_pycocotools_reads_what_is_written(folder):
    pycoco = pytest.importorskip("pycocotools.coco")
    convert(folder / "set" / "set.data", folder / "a.json", "--to", "coco")
    with contextlib.redirect_stdout(io.StringIO()):
        read = pycoco.COCO(str(folder / "a.json"))
    assert len(read.getAnnIds()) == 16 and len(read.getImgIds()) == 3


def test_two_lists_make_one_data_set(folder):
    data = folder / "set" / "set.data"
    for part in ("train", "valid"):
        convert(data, folder / f"{part}.json", "--to", "coco")
        flags = ["--images", folder / "set" / "images", "--part", part, "--overwrite"]
        convert(folder / f"{part}.json", folder / "both", "--to", "darknet", *flags)
    assert labels(folder / "both/both.data") == labels(folder / "both/both.data", "valid")


def test_nothing_is_overwritten_unasked(folder, capsys):
    data = folder / "set" / "set.data"
    for to, out in (("coco", "a.json"), ("voc", "v"), ("darknet", "d")):
        convert(data, folder / out, "--to", to)
        capsys.readouterr()
        assert main(["data", "convert", str(data), str(folder / out), "--to", to]) == 1
        assert "exists already; --overwrite" in capsys.readouterr().err
        convert(data, folder / out, "--to", to, "--overwrite")


def test_a_set_may_not_be_converted_onto_itself(folder, capsys):
    before = {p: p.read_bytes() for p in (folder / "set").rglob("*") if p.is_file()}
    arguments = ["data", "convert", str(folder / "set" / "set.data"), str(folder / "set")]
    assert main([*arguments, "--to", "darknet"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in (folder / "set").rglob("*") if p.is_file()} == before


BAD_XML = [
    ("<annotation>", "no element found"),
    ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>", "defines entities"),
    ("<annotation><filename>no.jpg</filename></annotation>", "no such image"),
    (
        "<annotation><filename>a.png</filename><object><name>x</name></object></annotation>",
        "bndbox/xmin is 'None'",
    ),
    ("<annotation><filename>a.png</filename><object/></annotation>", "an object has no name"),
]


@pytest.mark.parametrize("text, message", BAD_XML)
def test_xml_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1])
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(FormatError, match=message) as error:
        voc.read(tmp_path)
    assert "a.xml" in str(error.value)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"bbox": [1, 2, 3]}, r"annotations\[0\] has bbox"),
        ({"bbox": [1, 2, 3, float("nan")]}, r"annotations\[0\] has bbox"),
        ({"image_id": 5}, "names an image or a category"),
        ({"area": float("inf")}, "has area inf"),
        ({"area": "9"}, r"annotations\[0\] has no usable 'area'"),
    ],
)
def test_json_that_cannot_be_used(tmp_path, change, message):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "area": 4}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 4}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [{**annotation, **change}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(FormatError, match=message):
        coco.read(tmp_path / "a.json")


def test_names_that_no_line_can_hold(folder, capsys):
    convert(folder / "set" / "set.data", folder / "a.json", "--to", "coco")
    content = json.loads((folder / "a.json").read_text())
    content["categories"][0]["name"] = "two\nlines"
    (folder / "a.json").write_text(json.dumps(content))
    arguments = ["data", "convert", str(folder / "a.json"), str(folder / "out"), "--to", "darknet"]
    assert main(arguments) == 1
    assert r"class 'two\nlines' cannot stand" in capsys.readouterr().err.replace("\\\\", "\\")


def test_the_alphabet_is_said(folder, capsys):
    convert(folder / "set" / "set.data", folder / "voc", "--to", "voc")
    convert(folder / "voc", folder / "back", "--to", "darknet")
    assert "2 x classes are numbered by the alphabet" in capsys.readouterr().out
    assert (folder / "back/back.names").read_text() == "<b>&\nred fox\n"

"""The files of `valid`: numbers by hand, names, and what cannot be written."""

import json

import numpy as np
import pytest
import torch

from yolo.__main__ import main
from yolo.data.formats.coco import category_ids, image_ids
from yolo.evaluate.images import Seen
from yolo.evaluate.results import CocoFile, PlainFiles, ResultsError, VocFiles
from yolo.predict import Candidates


def seen(path="a/b.1.jpg", index=0):
    """Two boxes on an image of 200 x 100: one inside, one beyond two edges and of two classes."""
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.9, 0.1, 0.4, 0.4]])
    probs = torch.tensor([[0.0, 0.75], [0.5, 0.25]])
    return Seen(index, Candidates(boxes, probs), torch.zeros(0, 5), None, (100, 200), path)


def numbers(text):
    return [float(v) for v in text.split()]


def test_coco(tmp_path):
    file = CocoFile([42], [1, 90])
    file.see(seen())
    (path,) = file.write(tmp_path)
    found = json.loads(path.read_text())
    assert [(r["image_id"], r["category_id"], r["score"]) for r in found] == [
        (42, 90, 0.75),
        (42, 1, 0.5),
        (42, 90, 0.25),
    ]
    assert found[0]["bbox"] == pytest.approx([80, 30, 40, 40], abs=1e-4)
    assert found[1]["bbox"] == pytest.approx([140, 0, 60, 30], abs=1e-4)


def test_coco_of_nothing_is_still_json(tmp_path):
    (path,) = CocoFile([], [1]).write(tmp_path)
    assert json.loads(path.read_text()) == []


def test_voc_counts_pixels_from_one(tmp_path):
    files = VocFiles(["fish/chips", "x"])
    files.see(seen())
    paths = files.write(tmp_path)
    assert [p.name for p in paths] == ["comp4_det_test_fish_chips.txt", "comp4_det_test_x.txt"]
    first, second = (p.read_text().splitlines() for p in paths)
    assert first[0].startswith("b.1 ")
    np.testing.assert_allclose(numbers(first[0][4:]), [0.5, 141, 1, 200, 31], atol=1e-4)
    np.testing.assert_allclose(numbers(second[0][4:]), [0.75, 81, 31, 121, 71], atol=1e-4)
    assert len(second) == 2


def test_plain_is_a_label_file_with_scores(tmp_path):
    files = PlainFiles()
    files.see(seen())
    (path,) = files.write(tmp_path)
    assert path.name == "b.1.txt"
    rows = [numbers(line) for line in path.read_text().splitlines()]
    np.testing.assert_allclose(rows[0], [1, 0.5, 0.5, 0.2, 0.4, 0.75], atol=1e-6)
    np.testing.assert_allclose(rows[1], [0, 0.85, 0.15, 0.3, 0.3, 0.5], atol=1e-6)


@pytest.mark.parametrize("files", [VocFiles(["a", "b"]), PlainFiles()])
def test_images_of_one_name_are_refused(files):
    files.see(seen("one/a.jpg"))
    with pytest.raises(ResultsError, match=r"two/a\.png: has the same name as one/a\.jpg"):
        files.see(seen("two/a.png", 1))


def test_classes_of_one_file_name_are_refused():
    with pytest.raises(ResultsError, match=r"would all be written to comp4_det_test_a_b\.txt"):
        VocFiles(["a/b", "c", "a:b"])


@pytest.mark.parametrize(
    "paths, ids",
    [
        (["x/000000017627.jpg", "COCO_val2014_000000000042.jpg"], [17627, 42]),
        (["a1.jpg", "b1.jpg"], [1, 2]),
        (["a7.jpg", "b.jpg"], [1, 2]),
        (["9" * 30 + ".jpg"], [1]),
        (["9" * 5000 + ".jpg"], [1]),
        ([], []),
    ],
)
def test_image_ids(paths, ids):
    assert image_ids(paths) == ids


def test_darknets_category_ids():
    ids = category_ids(80)
    ranges = ((1, 11), (13, 25), (27, 28), (31, 44), (46, 65), (67, 67), (70, 70), (72, 82))
    wanted = [i for low, high in (*ranges, (84, 90)) for i in range(low, high + 1)]
    assert ids == wanted and category_ids(3) == [1, 2, 3]


@pytest.mark.parametrize("eval_key, expected", [("coco", 1), ("voc", 3), ("kitti", 3)])
def test_command_follows_the_data_file(project, capsys, eval_key, expected):
    text = (project / "set.data").read_text()
    (project / "set.data").write_text(f"{text}eval={eval_key}\nresults={project}/there\n")
    model = [str(project / "micro.cfg"), str(project / "micro.weights")]
    assert main(["valid", *model, "--data", str(project / "set.data")]) == 0
    assert len(list((project / "there").iterdir())) == expected
    assert "5 images" in capsys.readouterr().out


def test_command_names_images_it_left_out(project, capsys):
    (project / "img_012.png").write_text("<html>")
    model = [str(project / "micro.cfg"), str(project / "micro.weights")]
    flags = ["--format", "plain", "--out", str(project / "out")]
    assert main(["valid", *model, "--data", str(project / "set.data"), *flags]) == 1
    out = capsys.readouterr().out
    assert "4 images" in out and "left out: " in out and "img_012.png" in out
    assert len(list((project / "out").iterdir())) == 4

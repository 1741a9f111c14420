"""COCO's numbers: those that the referee gives for the file that we write, to the last digit."""

import contextlib
import io
import json

import numpy as np
import pytest

from yolo import load
from yolo.__main__ import main
from yolo.data import Dataset
from yolo.data.formats import FormatError
from yolo.evaluate import Pass, coco
from yolo.evaluate.coco import STATS

pycocotools = pytest.importorskip("pycocotools.coco")


def referee(truth, results):
    """The twelve numbers, from two files, as pycocotools' own example runs it."""
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        known = pycocotools.COCO(str(truth))
        judged = COCOeval(known, known.loadRes(str(results)), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return dict(zip(STATS, judged.stats.tolist(), strict=True))


def run(project, name, *flags):
    model = [str(project / "micro.cfg"), str(project / "micro.weights")]
    return main([name, *model, "--data", str(project / "set.data"), *map(str, flags)])


def instances(project):
    """COCO annotations of the project's labels, with areas that are not the boxes' and a crowd."""
    dataset = Dataset.from_data(project / "set.data", "valid")
    images, annotations = [], []
    for k in range(len(dataset)):
        sample = dataset[k]
        height, width = sample.image.shape[:2]
        name = sample.path.split("/")[-1]
        images.append({"id": 100 + k, "file_name": name, "height": height, "width": width})
        for n, (label, x, y, w, h) in enumerate(sample.boxes.tolist()):
            bbox = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 100 + k,
                    "category_id": [5, 9, 2][int(label)],
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3] * 0.6,
                    "iscrowd": int(n == 3),
                }
            )
    categories = [{"id": i, "name": n} for i, n in ((5, "b"), (9, "c"), (2, "a"))]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (project / "instances.json").write_text(json.dumps(content))
    return project / "instances.json"


@pytest.mark.long
@pytest.mark.parametrize("model", ["yolo-fastest-1.1", "yolo-fastest-1.1-xl"])
def test_official_annotations_give_the_referees_numbers(shared, tmp_path, model):
    folder, weights = shared / "data/coco_val50", shared / "data/weights"
    common = [str(weights / f"{model}.cfg"), str(weights / f"{model}.weights")]
    common += ["--data", str(folder / "coco_val50.data")]
    truth = folder / "instances_coco_val50.json"
    flags = ["--protocol", "coco", "--annotations", str(truth), "--json", str(tmp_path / "a.json")]
    assert main(["map", *common, *flags]) == 0
    assert main(["valid", *common, "--format", "coco", "--out", str(tmp_path)]) == 0
    ours = json.loads((tmp_path / "a.json").read_text())
    assert ours["stats"] == referee(truth, tmp_path / "coco_results.json")
    assert ours["stats"]["AP50"] > 0.25 and ours["images"] == 49


def test_truths_of_a_file_of_ones_own(project):
    truth = instances(project)
    flags = ["--protocol", "coco", "--annotations", truth, "--json", project / "a.json"]
    assert run(project, "map", *flags) == 0
    flags = ["--format", "coco", "--annotations", truth, "--out", project]
    assert run(project, "valid", *flags) == 0
    ours = json.loads((project / "a.json").read_text())
    assert ours["stats"] == referee(truth, project / "coco_results.json")
    assert 0.1 < ours["stats"]["AP"] < 0.95
    # crowd regions are not to be found
    crowds = sum(a["iscrowd"] for a in json.loads(truth.read_text())["annotations"])
    total = len(json.loads(truth.read_text())["annotations"])
    assert crowds and sum(ours["class_truths"]) == total - crowds


def test_truths_of_the_labels(project, capsys):
    assert run(project, "map", "--protocol", "coco", "--json", project / "a.json") == 0
    ours = json.loads((project / "a.json").read_text())
    out = capsys.readouterr().out
    assert f"AP         {ours['stats']['AP']:.4f}" in out and "red fox" in out
    assert run(project, "valid", "--format", "coco", "--out", project) == 0
    # the labels as annotations, ids as `valid` writes them
    truth = json.loads(instances(project).read_text())
    for image, number in zip(truth["images"], (7, 12, 3, 40, 41), strict=True):
        image["id"] = number
    for a in truth["annotations"]:
        a.update(iscrowd=0, area=a["area"] / 0.6, category_id=[5, 9, 2].index(a["category_id"]) + 1)
        a["image_id"] = (7, 12, 3, 40, 41)[a["image_id"] - 100]
    truth["categories"] = [{"id": k, "name": str(k)} for k in (1, 2, 3)]
    (project / "truth.json").write_text(json.dumps(truth))
    wanted = referee(project / "truth.json", project / "coco_results.json")
    assert ours["stats"] == pytest.approx(wanted, abs=1e-12)


def test_nothing_found_at_all():
    judge = coco.Referee(["1.png"], 3)
    judge.dataset["images"].append({"id": 1, "width": 10, "height": 10})
    judge.dataset["annotations"].append(
        {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 1, 3, 3], "area": 9, "iscrowd": 0}
    )
    result = judge.result()
    assert result.map == 0 and result.ap == [None, 0.0, None] and result.stats["AP_large"] == -1
    assert [c is None for c in judge.curves()] == [True, False, True]


@pytest.mark.parametrize(
    "content, message",
    [
        ("[", "Expecting value"),
        ("[]", "no list 'images'"),
        ('{"images": [{"id": "a"}]}', r"images\[0\] has no usable 'id'"),
        ('{"images": [], "categories": []}', "no list 'annotations'"),
        ('{"images": [], "categories": [], "annotations": []}', "has no image img_007.png"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_annotation_files_that_cannot_be_used(project, capsys, content, message):
    (project / "bad.json").write_text(content)
    assert run(project, "map", "--protocol", "coco", "--annotations", project / "bad.json") == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    with pytest.raises(FormatError, match=message):
        coco.numbers(["img_007.png"], 3, project / "bad.json")


def test_a_missing_referee_is_said(project, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.coco", None)
    assert run(project, "map", "--protocol", "coco") == 1
    assert "pip install" in capsys.readouterr().err


def test_precision_of_the_curve_is_the_referees(project):
    truth = instances(project)
    judge = coco.Referee([f"img_{k:03}.png" for k in (7, 12, 3, 40, 41)], 3, truth)
    net = load(project / "micro.cfg", project / "micro.weights")
    valid = Dataset.from_data(project / "set.data", "valid")
    for seen in Pass(net, valid, judge.lowest, judge.suppression):
        judge.see(seen)
    result = judge.result()
    means = [float(np.mean(c[0])) for c in judge.curves() if c is not None]
    assert means == pytest.approx([ap for ap in result.ap50 if ap is not None])

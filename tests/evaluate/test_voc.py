"""VOC's AP: against a literal scoring of the files that `valid` writes, and by hand."""

import json

import numpy as np
import pytest

from yolo.__main__ import main
from yolo.data import Dataset
from yolo.evaluate.voc import pixel_iou


def run(project, name, *flags):
    model = [str(project / "micro.cfg"), str(project / "micro.weights")]
    return main([name, *model, "--data", str(project / "set.data"), *map(str, flags)])


def annotations(project, difficult):
    """VOC xml of the labels, corners from 1: {image: [(class, difficult, corners)]}."""
    parts = [(0, Dataset.from_data(project / "set.data", "valid"))]
    if difficult:
        parts.append((1, Dataset.difficult(project / "set.data")))
    found = {}
    for hard, dataset in parts:
        for k in range(len(dataset)):
            sample = dataset[k]
            height, width = sample.image.shape[:2]
            name = sample.path.split("/")[-1].split(".")[0]
            for label, x, y, w, h in sample.boxes.tolist():
                corners = [(x - w / 2) * width, (y - h / 2) * height]
                corners += [(x + w / 2) * width, (y + h / 2) * height]
                found.setdefault(name, []).append((int(label), hard, [v + 1 for v in corners]))
    return found


def devkit(lines, truths, label, points):
    """VOCevaldet.m, line by line: AP of a class from the lines of its result file."""
    npos, state = 0, {}
    for image, objects in truths.items():
        own = [(hard, corners) for c, hard, corners in objects if c == label]
        state[image] = [[hard, corners, False] for hard, corners in own]
        npos += sum(not hard for hard, _ in own)
    rows = [line.split() for line in lines]
    rows.sort(key=lambda row: -float(row[1]))
    tp, fp = [], []
    for image, _, *numbers in rows:
        bb = [float(v) for v in numbers]
        ovmax, best = -np.inf, None
        for entry in state.get(image, []):
            gt = entry[1]
            iw = min(bb[2], gt[2]) - max(bb[0], gt[0]) + 1
            ih = min(bb[3], gt[3]) - max(bb[1], gt[1]) + 1
            if iw > 0 and ih > 0:
                union = (bb[2] - bb[0] + 1) * (bb[3] - bb[1] + 1)
                union += (gt[2] - gt[0] + 1) * (gt[3] - gt[1] + 1) - iw * ih
                if iw * ih / union > ovmax:
                    ovmax, best = iw * ih / union, entry
        tp.append(0)
        fp.append(0)
        if ovmax >= 0.5:
            if not best[0]:
                tp[-1], fp[-1] = int(not best[2]), int(best[2])
                best[2] = True
        else:
            fp[-1] = 1
    tp, fp = np.cumsum(tp), np.cumsum(fp)
    rec, prec = tp / npos, tp / np.maximum(tp + fp, 1e-12)
    if points:
        levels = np.arange(11) / 10
        return np.mean([max(prec[rec >= t], default=0.0) for t in levels])
    mrec, mpre = np.concatenate([[0], rec, [1]]), np.concatenate([[0], prec, [0]])
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    step = np.where(mrec[1:] != mrec[:-1])[0] + 1
    return float(((mrec[step] - mrec[step - 1]) * mpre[step]).sum())


@pytest.mark.parametrize("protocol, points", [("voc07", 11), ("voc12", 0)])
@pytest.mark.parametrize("difficult", [False, True])
def test_the_files_give_the_same_numbers_to_the_devkit(project, protocol, points, difficult):
    if difficult:
        text = (project / "set.data").read_text()
        (project / "set.data").write_text(text + "difficult=hard.txt\n")
    assert run(project, "map", "--protocol", protocol, "--json", project / "a.json") == 0
    assert run(project, "valid", "--format", "voc", "--out", project / "out") == 0
    truths = annotations(project, difficult)
    ours = json.loads((project / "a.json").read_text())
    for label, name in enumerate(("red fox", "b", "c")):
        lines = (project / "out" / f"comp4_det_test_{name}.txt").read_text().splitlines()
        assert len(lines) == ours["class_detections"][label]
        wanted = devkit(lines, truths, label, points)
        assert 0.05 < wanted < 0.99
        assert ours["ap"][label] == pytest.approx(wanted, abs=1e-6)
    assert ours["map"] == pytest.approx(np.mean(ours["ap"]))
    assert sum(ours["class_truths"]) == sum(not h for o in truths.values() for _, h, _ in o)


def test_difficult_truths_change_the_number(project):
    run(project, "map", "--protocol", "voc07", "--json", project / "a.json")
    text = (project / "set.data").read_text()
    (project / "set.data").write_text(text + "difficult=hard.txt\n")
    run(project, "map", "--protocol", "voc07", "--json", project / "b.json")
    a, b = (json.loads((project / f"{n}.json").read_text()) for n in "ab")
    assert b["map"] > a["map"]


def test_pixels_are_counted_from_one_to_the_last():
    box = np.array([1.0, 1.0, 10.0, 10.0])
    assert pixel_iou(box, np.array([[1, 1, 10, 10], [6, 1, 15, 10], [11, 1, 20, 10]])) == (
        pytest.approx([1.0, 50 / 150, 0.0])
    )


def test_a_difficult_list_of_another_length(project, capsys):
    (project / "hard.txt").write_text("hard/img_007.png\n")
    text = (project / "set.data").read_text()
    (project / "set.data").write_text(text + "difficult=hard.txt\n")
    assert run(project, "map") == 1
    assert "set.data:4: 1 images; valid has 5" in capsys.readouterr().err


def test_class_without_truth_is_left_out_of_the_mean(project, capsys):
    for path in project.glob("img_*.txt"):
        rows = path.read_text().splitlines()
        path.write_text("\n".join(row for row in rows if row[0] != "2") + "\n")
    assert run(project, "map", "--protocol", "voc12", "--json", project / "a.json") == 0
    result = json.loads((project / "a.json").read_text())
    assert result["ap"][2] is None and result["map"] == pytest.approx(np.mean(result["ap"][:2]))

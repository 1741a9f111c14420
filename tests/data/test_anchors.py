import numpy as np
import pytest

from yolo.__main__ import main
from yolo.data import DataError
from yolo.data.anchors import _cluster, average_iou, fit_anchors, masks, overlaps, recall


def test_overlap_of_centred_boxes_by_hand():
    found = overlaps(np.array([[2.0, 2.0]]), np.array([[2.0, 2.0], [4.0, 1.0], [1.0, 1.0]]))
    np.testing.assert_allclose(found, [[1, 2 / 6, 1 / 4]])


def test_finds_clear_clusters_in_order_of_area():
    rng = np.random.default_rng(1)
    true = np.array([[10.0, 12.0], [40.0, 30.0], [90.0, 120.0]])
    sizes = np.concatenate([c * rng.uniform(0.95, 1.05, (50, 2)) for c in true])
    anchors = fit_anchors(sizes, 3)
    np.testing.assert_allclose(anchors, true, rtol=0.03)
    assert average_iou(sizes, anchors) > 0.9
    assert average_iou(sizes, anchors) > average_iou(sizes, true * 1.3)


def test_same_seed_same_anchors():
    sizes = np.random.default_rng(2).uniform(5, 100, (200, 2))
    np.testing.assert_array_equal(fit_anchors(sizes, 6, seed=3), fit_anchors(sizes, 6, seed=3))


def test_too_few_boxes_are_refused():
    with pytest.raises(DataError, match="6 anchors"):
        fit_anchors(np.ones((20, 2)), 6)


def test_recall_counts_boxes_above_the_limit():
    sizes = np.array([[10.0, 10.0], [10.0, 21.0], [40.0, 40.0]])
    assert recall(sizes, np.array([[10.0, 10.0]])) == pytest.approx(1 / 3)
    assert recall(sizes, np.array([[10.0, 10.0]]), iou=0.4) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "sides, strides, expected",
    [
        ([10, 20, 29, 31, 59, 61, 200], (8, 16, 32), [[0, 1, 2], [3, 4], [5, 6]]),
        ([10, 20, 29, 31, 59, 61, 200], (32, 16, 8), [[5, 6], [3, 4], [0, 1, 2]]),
        ([100, 110, 120], (8, 16, 32), [[0], [1], [2]]),  # each head gets one
        ([5, 6, 7], (8, 16, 32), [[0], [1], [2]]),
        ([5, 70], (16, 32), [[0], [1]]),
        ([5, 6], (32,), [[0, 1]]),
    ],
)
def test_masks_by_size(sides, strides, expected):
    assert masks(np.array([[s, s] for s in sides], float), strides) == expected


def test_too_few_anchors_for_the_heads():
    with pytest.raises(DataError, match="1 anchors are too few for 2 heads"):
        masks(np.ones((1, 2)), (16, 32))


def lloyd(sizes, centres):
    """Darknet's rounds, one box at a time: ties to the first centre, means, until nothing moves."""
    assigned = None
    while True:
        now = []
        for w, h in sizes:
            ious = []
            for a, b in centres:
                inside = min(w, a) * min(h, b)
                ious.append(inside / (w * h + a * b - inside))
            now.append(ious.index(max(ious)))
        if now == assigned:
            return centres
        assigned = now
        for k in range(len(centres)):
            group = [s for s, n in zip(sizes, now, strict=True) if n == k]
            if group:
                centres[k] = tuple(sum(side) / len(group) for side in zip(*group, strict=True))


def test_a_cluster_run_is_darknets():
    sizes = np.random.default_rng(3).uniform(4, 200, (120, 2))
    found = _cluster(sizes, sizes[:4])
    np.testing.assert_allclose(found, lloyd(sizes.tolist(), sizes[:4].tolist()), rtol=1e-12)


@pytest.fixture
def folder(tmp_path):
    """Two images without pixels: anchors come from labels alone."""
    for k, text in enumerate(("0 .5 .5 .1 .1\n1 .5 .5 .5 .5\n", "1 .5 .5 .25 .125\n")):
        (tmp_path / f"{k}.jpg").touch()
        (tmp_path / f"{k}.txt").write_text(text)
    (tmp_path / "train.txt").write_text("0.jpg\n1.jpg\n")
    (tmp_path / "set.data").write_text("classes=2\ntrain=train.txt\n")
    return tmp_path


def test_command(folder, capsys):
    flags = ["--num", "3", "--width", "400", "--height", "800", "--masks", "--out", str(folder)]
    assert main(["anchors", str(folder / "set.data"), *flags]) == 0
    out = capsys.readouterr().out
    assert "anchors = 40,80, 100,100, 200,400" in out
    assert "fitted: average IoU 100.00%, recall at IoU 0.5 100.00%" in out
    assert "head of 50x100 (stride 8): mask = 0, filters = 7 before it" in out
    assert (folder / "anchors.txt").read_text() == "40,80, 100,100, 200,400\n"
    counters = (folder / "counters_per_class.txt").read_text()
    assert counters == "counters_per_class = 1, 2\n" and (folder / "cloud.png").stat().st_size


def test_command_compares_with_a_cfg(folder, cfg_folder, capsys):
    cfg = str(cfg_folder / "yolov4-tiny.cfg")
    (folder / "1.txt").write_text("1 .5 .5 2\n")
    assert main(["anchors", str(folder / "set.data"), "--cfg", cfg, "--num", "2"]) == 0
    out = capsys.readouterr().out
    assert "before: average IoU" in out and "1 images have no labels that can be used" in out


def test_command_needs_a_size(folder, capsys):
    assert main(["anchors", str(folder / "set.data")]) == 1
    assert "--width and --height" in capsys.readouterr().err

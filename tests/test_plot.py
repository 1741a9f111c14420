"""Charts and contact sheets, looked at by their pixels."""

import math

import cv2
import matplotlib
import numpy as np
import pytest

from yolo.plot import PARTS, POINTS, chart, column, contact_sheet, thinned

RED = (200, 64, 47)  # of the mAP line


def table(count, map_every=None):
    i = np.arange(1, count + 1)
    measured = (i % map_every == 0) if map_every else np.zeros(count, bool)
    return {
        "iteration": i,
        "loss": 100 / i,
        "avg_loss": 110 / i,
        "rate": np.full(count, 0.001),
        "map": np.where(measured, 0.5, np.nan),
    }


def pixels(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def near(image, colour):
    return (np.abs(image.astype(int) - colour).sum(2) < 30).sum()


def test_a_chart_shows_the_map_only_when_it_was_measured(tmp_path):
    chart(table(200), tmp_path / "without.png")
    chart(table(200, map_every=50), tmp_path / "with.png", max_batches=400)
    without, with_map = pixels(tmp_path / "without.png"), pixels(tmp_path / "with.png")
    assert without.shape == with_map.shape == (600, 1000, 3)
    assert near(without, RED) == 0
    assert near(with_map, RED) > 200
    assert sorted(p.name for p in tmp_path.iterdir()) == ["with.png", "without.png"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_chart_of_hardly_any_iterations(tmp_path, count):
    chart(table(count), tmp_path / "chart.png", max_batches=100)
    assert pixels(tmp_path / "chart.png").std() > 5


def test_parts_of_the_loss_have_lines_of_their_own(tmp_path):
    """Columns such as class-loss_19; empty ones and other columns of a layer have none."""
    found = table(200)
    chart(found, tmp_path / "plain.png")
    others = {"objects_19": found["loss"], "box-loss_23": np.full(200, math.nan)}
    chart(found | others, tmp_path / "others.png")
    assert (pixels(tmp_path / "plain.png") == pixels(tmp_path / "others.png")).all()
    parts = {"class-loss_19": found["loss"] / 5, "box-loss_19": found["loss"] / 9}
    chart(found | parts, tmp_path / "parts.png")
    for colour in PARTS[:2]:
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert near(pixels(tmp_path / "parts.png"), rgb) > 100
        assert near(pixels(tmp_path / "plain.png"), rgb) == 0


def test_values_that_cannot_be_drawn_are_left_out(tmp_path):
    found = table(20)
    found["loss"][3], found["loss"][4], found["avg_loss"][5] = math.nan, math.inf, -1.0
    found["rate"][7] = math.nan
    del found["map"]
    chart(found, tmp_path / "chart.png")
    assert pixels(tmp_path / "chart.png").std() > 5
    assert len(column(found, "loss")[0]) == 18
    assert len(column(found, "avg_loss", positive=True)[0]) == 19
    assert len(column(found, "map")[0]) == 0


def test_a_failed_chart_leaves_the_old_one(tmp_path):
    path = tmp_path / "chart.png"
    chart(table(5), path)
    before = path.read_bytes()
    with pytest.raises((KeyError, ValueError)):
        chart({"loss": [1.0]}, path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_charts_leave_the_settings_of_matplotlib_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    chart(table(5), tmp_path / "chart.png")
    assert dict(matplotlib.rcParams) == before
    import sys

    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_thinning_keeps_peaks():
    y = np.sin(np.arange(50_000.0))
    y[31_234], y[40_000] = 99.0, -99.0
    x, kept = thinned(np.arange(50_000), y)
    assert len(x) <= POINTS and kept.max() == 99 and kept.min() == -99
    assert (np.diff(x) > 0).all()


def test_a_contact_sheet_shows_every_image_in_order():
    shades = [30, 90, 150, 210, 60]
    shapes = [(40, 60), (80, 40), (30, 30), (100, 300), (20, 90)]
    images = [np.full((*hw, 3), v, np.uint8) for v, hw in zip(shades, shapes, strict=True)]
    sheet = contact_sheet(images, columns=2, width=400)
    assert sheet.shape[1] == 400 and sheet.dtype == np.uint8
    order = [v for v in dict.fromkeys(sheet[:, ::5].reshape(-1, 3)[:, 0].tolist()) if v in shades]
    assert sorted(order) == sorted(shades) and order[0] == 30
    assert (sheet == 255).all(2).any()  # gaps


def test_one_image_fills_the_sheet_and_none_is_an_error():
    image = np.zeros((50, 100, 3), np.uint8)
    assert contact_sheet([image], width=300).shape == (150, 300, 3)
    with pytest.raises(ValueError, match="no images"):
        contact_sheet([])
    with pytest.raises(ValueError, match=r"float64 \(2, 2, 3\)"):
        contact_sheet([np.zeros((2, 2, 3))])

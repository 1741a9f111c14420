"""Colours against the formula of HSV."""

import colorsys

import numpy as np
import pytest

from yolo.data.augment import Augment
from yolo.data.augment.colour import draw_colours, recolour


def test_colour_factors():
    rng = np.random.default_rng(0)
    draws = np.array([draw_colours(Augment(hue=0.1, exposure=2.0), rng) for _ in range(500)])
    assert np.abs(draws[:, 0]).max() <= 0.1 and (draws[:, 1] == 1).all()
    assert draws[:, 2].min() >= 0.5 and draws[:, 2].max() <= 2
    assert 200 < (draws[:, 2] > 1).sum() < 300


@pytest.mark.parametrize(
    "change", [(0.08, 1, 1), (-0.2, 1, 1), (0, 1.5, 1), (0, 1, 0.6), (0.1, 0.7, 1.3)]
)
def test_recolour_follows_hsv(change):
    colours = np.random.default_rng(0).integers(0, 256, (64, 3))
    result = recolour(colours.astype(np.uint8)[None], *change)[0]
    hue, saturation, exposure = change
    for before, after in zip(colours, result, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*before / 255)
        wanted = colorsys.hsv_to_rgb(
            (h + hue * 179 / 180) % 1, min(1, s * saturation), min(1, v * exposure)
        )
        # 2 degrees of hue and 8 bits of saturation cost up to a few levels
        assert np.abs(after - 255 * np.array(wanted)).max() <= 9


def test_hue_wraps_around():
    red = np.full((1, 1, 3), (250, 0, 0), np.uint8)
    r, g, b = recolour(red, -0.1, 1, 1)[0, 0].astype(int)
    assert r == 250 and g == 0 and b > 100  # towards magenta; sticking at 0 would stay red

"""Four images in one."""

from dataclasses import replace

import numpy as np
import pytest

from tests.data.augment.rectangles import COLOURS, SIZE, check, coloured, painted, random_rectangle
from yolo.data.augment import Augment
from yolo.data.augment.crop import Crop
from yolo.data.augment.mosaic import draw_cut, margins, start
from yolo.data.augment.view import View
from yolo.data.sample import Sample


@pytest.mark.parametrize(("blur", "letter"), [(0, False), (1, False), (9, False), (9, True)])
def test_mosaic_boxes_stay_on_their_pixels(blur, letter):
    rng = np.random.default_rng(2)
    options = Augment(0.3, 1.3, True, mosaic=True, blur=blur, gaussian_noise=5, letter_box=letter)
    kept = np.zeros(4, int)
    for _ in range(80):
        samples = [painted(random_rectangle(rng), COLOURS[k], label=k) for k in range(4)]
        result = options.make(samples, SIZE, rng)
        assert result.image.shape == (*SIZE, 3)
        for k in range(4):
            box = result.boxes[result.boxes[:, 0] == k]
            check(box, coloured(result.image, COLOURS[k]))
            kept[k] += len(box)
    assert (kept >= 25).all()


def test_a_mosaic_shows_four_images_without_gaps():
    plain = [Sample(np.full((50, 60, 3), 50 * k + 40, np.uint8), _none(), "") for k in range(4)]
    for seed in range(20):
        options = Augment(jitter=0.2, resize=1.4, flip=True, mosaic=True)
        image = options.make(plain, SIZE, np.random.default_rng(seed)).image
        assert {40, 90, 140, 190} == set(np.unique(image))
        corners = image[[0, 0, -1, -1], [0, -1, 0, -1], 0]
        assert corners.tolist() == [40, 90, 140, 190]


def test_a_mosaic_shows_no_filled_margin_near_its_cut():
    shape = 100, 100
    crop = Crop(-20, 0, 140, 100)
    assert margins(crop, shape, (100, 140)) == (20, 0, 20, 0)
    assert margins(Crop(-20, 0, 120, 100, True), shape, (100, 120)) == (0, 0, 20, 0)
    assert start(0, (50, 40), (100, 140), (20, 0, 20, 0)) == (70, 60)
    assert start(1, (50, 40), (100, 140), (20, 0, 20, 0)) == (20, 60)
    assert start(3, (50, 40), (100, 140), (20, 5, 20, 0)) == (20, 5)


def _none():
    return np.zeros((0, 5), np.float32)


def test_the_cut_lies_between_a_fifth_and_four_fifths():
    rng = np.random.default_rng(0)
    cuts = np.array([draw_cut((100, 200), rng) for _ in range(2000)])
    assert cuts.min(0).tolist() == [40, 20] and cuts.max(0).tolist() == [160, 80]
    assert np.abs(cuts.mean(0) - (100, 50)).max() < 3


@pytest.mark.parametrize("blur", [1, 7])
def test_a_blurred_part_is_cut_from_the_blurred_whole(blur):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    boxes = np.array([(0, 0.5, 0.5, 0.4, 0.4)], np.float32)
    options = Augment(jitter=0.2)
    view = View.draw(Sample(image, boxes, ""), SIZE, options, rng)
    view = replace(view, blur=blur)
    whole, part = view.pixels().astype(int), view.pixels((30, 20, 80, 70))
    assert np.abs(part - whole[20:70, 30:80]).max() <= 2  # coordinates round elsewhere

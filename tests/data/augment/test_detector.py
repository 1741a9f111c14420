"""Augmentation of detectors: boxes against the pixels they belong to."""

import math

import numpy as np
import pytest

from tests.data.augment.rectangles import (
    BLUE,
    COLOURS,
    RED,
    SIZE,
    check,
    colourful,
    painted,
    random_rectangle,
)
from yolo.data.augment import Augment
from yolo.data.lists import DataError
from yolo.data.sample import Sample

PAIR = RED, BLUE
NONE = np.zeros((0, 5), np.float32)
ALL = dict(jitter=0.3, resize=1.5, flip=True, hue=0.1, saturation=1.5, exposure=1.5)
OPTIONS = {
    "nothing": Augment(),
    "flip": Augment(flip=True),
    "jitter": Augment(jitter=0.3),
    "zoom": Augment(resize=1.5),
    "zoom out": Augment(resize=0.6),
    "aspect": Augment(letter_box=True, jitter=0.1),
    "blur": Augment(blur=9, jitter=0.2),
    "blur of the ground": Augment(blur=1, jitter=0.2),
    "noise": Augment(gaussian_noise=5, jitter=0.2),
    "all": Augment(**ALL, blur=9, gaussian_noise=5),
    "all, aspect": Augment(**ALL, blur=9, gaussian_noise=5, letter_box=True),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_boxes_stay_on_their_pixels(name):
    rng = np.random.default_rng(1)
    shifts = []
    for trial in range(80):
        sample = painted(random_rectangle(rng), COLOURS[trial % 4])
        result = OPTIONS[name].make([sample], SIZE, rng)
        assert result.image.shape == (*SIZE, 3) and result.image.dtype == np.uint8
        assert result.boxes.dtype == np.float32 and result.boxes.shape[1:] == (5,)
        shift = check(result.boxes, colourful(result.image))
        shifts += [] if shift is None else [shift]
    assert len(shifts) >= 50
    assert np.abs(np.mean(shifts, axis=0)).max() <= 0.15  # pixels; no lasting bias


def test_no_options_only_resize():
    sample = painted((20, 30, 60, 90), COLOURS[0], shape=SIZE)
    result = Augment().make([sample], SIZE, np.random.default_rng(0))
    np.testing.assert_array_equal(result.image, sample.image)
    np.testing.assert_allclose(result.boxes, sample.boxes, atol=1e-7)


def test_the_source_is_not_changed():
    sample = painted((20, 30, 60, 90), COLOURS[0])
    image, boxes = sample.image.copy(), sample.boxes.copy()
    options = Augment(0.3, 1.5, True, 0.1, 1.5, 1.5, mosaic=True)
    for seed in range(5):
        options.make([sample] * 4, SIZE, np.random.default_rng(seed))
        options.make([sample], SIZE, np.random.default_rng(seed))
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.boxes, boxes)


@pytest.mark.parametrize("bad", [dict(resize=0), dict(saturation=-1), dict(exposure=math.inf)])
def test_options_that_make_no_sense_are_refused(bad):
    with pytest.raises(DataError, match="expected a number above 0"):
        Augment(**bad)


def test_mixup_boxes_stay_on_their_pixels():
    """The two rectangles keep half of their colour, and may lie on each other."""
    rng = np.random.default_rng(3)
    options = Augment(jitter=0.3, resize=1.3, flip=True, mixup=True, blur=9, gaussian_noise=5)
    kept = np.zeros(2, int)
    for _ in range(80):
        samples = [painted(random_rectangle(rng), colour, label=k) for k, colour in enumerate(PAIR)]
        result = options.make(samples, SIZE, rng)
        red, green, blue = np.moveaxis(result.image.astype(int), 2, 0)
        for k, mask in enumerate((red - green > 75, blue - green > 73)):
            boxes = result.boxes[result.boxes[:, 0] == k]
            check(boxes, mask)
            kept[k] += len(boxes)
    assert (kept >= 50).all()


def test_mixup_is_the_mean_of_two():
    samples = [Sample(np.full((20, 30, 3), level, np.uint8), NONE, "") for level in (40, 140)]
    image = Augment(mixup=True).make(samples, SIZE, np.random.default_rng(0)).image
    assert (image == 90).all()


@pytest.mark.parametrize(("options", "several"), [
    (Augment(), 1), (Augment(mixup=True), 2), (Augment(mosaic=True), 4),
    (Augment(mixup=True, mosaic=True), 4),
])  # fmt: skip
def test_several_images_go_into_every_other_sample(options, several):
    rng = np.random.default_rng(0)
    needed = [options.images_needed(rng) for _ in range(400)]
    assert set(needed) == {1, several}
    if several > 1:
        assert 160 < needed.count(several) < 240


def test_a_full_list_of_boxes_takes_from_both_images():
    boxes = np.array([(0, 0.5, 0.5, 0.2, 0.2)] * 10, np.float32)
    samples = [Sample(np.zeros((50, 50, 3), np.uint8), boxes + (k, 0, 0, 0, 0), "") for k in (0, 1)]
    options = Augment(mixup=True, max_boxes=8)
    result = options.make(samples, SIZE, np.random.default_rng(0))
    assert len(result.boxes) == 8 and set(result.boxes[:, 0]) == {0, 1}

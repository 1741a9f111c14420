"""What part of an image is shown, and its pixels."""

import numpy as np

from yolo.data.augment import Augment
from yolo.data.augment.crop import Crop, draw_crop, show


def test_outside_the_image_lies_its_mean_colour():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    shown = show(image, Crop(-40, -40, 120, 120), (120, 120))
    mean = image.reshape(-1, 3).mean(0)
    assert np.abs(shown[:38].reshape(-1, 3) - mean).max() <= 1
    np.testing.assert_array_equal(shown[40:80, 40:80], image)


def test_flip_mirrors():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    crop = Crop(5, 0, 50, 40)
    mirrored = show(image, Crop(5, 0, 50, 40, True), (40, 50))
    np.testing.assert_array_equal(mirrored, show(image, crop, (40, 50))[:, ::-1])


def test_a_part_is_cut_from_the_whole():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    crop = Crop(-10, 3, 80, 30, True)
    whole = show(image, crop, (90, 160))
    part = show(image, crop, (90, 160), (30, 20, 50, 40)).astype(int)
    assert np.abs(part - whole[20:60, 30:80]).max() <= 1  # coordinates round elsewhere


def test_crops_stay_within_their_options():
    rng = np.random.default_rng(0)
    crops = [draw_crop((100, 200), (96, 96), Augment(jitter=0.2), rng) for _ in range(400)]
    assert all(abs(c.left) <= 40 and abs(c.top) <= 20 for c in crops)
    assert max(c.left for c in crops) > 35 and min(c.left for c in crops) < -35
    assert {c.flip for c in crops} == {False}
    # resize 1.5: from a quarter more on each side to a sixth less
    crops = [
        draw_crop((120, 240), (96, 96), Augment(resize=1.5, flip=True), rng) for _ in range(400)
    ]
    assert min(c.left for c in crops) in range(-60, -55)
    assert max(c.left for c in crops) in range(37, 41)
    assert 150 < sum(c.flip for c in crops) < 250
    crops = [draw_crop((120, 240), (96, 96), Augment(resize=0.5), rng) for _ in range(100)]
    assert all(c.left <= 0 and c.top <= 0 for c in crops)  # below 1: only out


def test_letter_box_keeps_the_aspect_ratio():
    crop = draw_crop((100, 300), (200, 200), Augment(letter_box=True), np.random.default_rng(0))
    assert crop == Crop(0, -100, 300, 300)
    crop = draw_crop((300, 100), (100, 200), Augment(letter_box=True), np.random.default_rng(0))
    assert crop == Crop(-250, 0, 600, 300)


def test_an_impossible_crop_becomes_the_whole_image():
    rng = np.random.default_rng(0)
    for _ in range(200):
        crop = draw_crop((10, 10), (32, 32), Augment(jitter=3.0), rng)
        assert crop.width > 0 and crop.height > 0 and crop.left < 10 and crop.top < 10

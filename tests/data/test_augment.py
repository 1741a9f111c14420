"""Augmentation: boxes against the pixels they belong to, colours against their formula."""

import colorsys
import math

import numpy as np
import pytest

from yolo.data import augment
from yolo.data.augment import Augment, Crop, draw_crop, recolour, show, single
from yolo.data.sample import Sample

COLOURS = np.array([[230, 30, 30], [30, 230, 30], [40, 40, 235], [230, 230, 20]], np.uint8)
SIZE = (96, 128)  # of the network: height, width


def painted(edges, colour, shape=(150, 200), label=0):
    """A grey image with one filled rectangle (left, top, right, bottom) and its true box."""
    image = np.full((*shape, 3), 120, np.uint8)
    left, top, right, bottom = edges
    image[top:bottom, left:right] = colour
    box = (
        label,
        (left + right) / 2 / shape[1],
        (top + bottom) / 2 / shape[0],
        (right - left) / shape[1],
        (bottom - top) / shape[0],
    )
    return Sample(image, np.array([box], np.float32), f"{label}.png")


def random_rectangle(rng, shape=(150, 200)):
    w, h = rng.integers(20, 60, 2)  # small: the mean colour, that of the margins, stays grey
    left, top = rng.integers(0, shape[1] - w + 1), rng.integers(0, shape[0] - h + 1)
    return int(left), int(top), int(left + w), int(top + h)


def edges_of(box, size=SIZE):
    """Left, top, right, bottom in pixels of a row class, x, y, w, h."""
    x, y, w, h = box[1:] * np.tile(size[::-1], 2)
    return np.array((x - w / 2, y - h / 2, x + w / 2, y + h / 2))


def extent(mask):
    """The same of the pixels that are set, or None."""
    rows, columns = np.where(mask)
    if not len(rows):
        return None
    return np.array((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))


def colourful(image):
    """Pixels that are not grey: the rectangle, whatever the colour change made of it."""
    return np.ptp(image.astype(int), axis=2) > 60


def check(box, mask, image_edges=1.5):
    """A box that was kept lies on its pixels; a dropped one belongs to (nearly) none."""
    found = extent(mask)
    if len(box):
        assert found is not None
        error = edges_of(box[0]) - found
        assert np.abs(error).max() <= image_edges
        return (error[:2] + error[2:]) / 2  # of the centre
    assert mask.sum() <= 0.11 * 90 * 90
    return None


OPTIONS = {
    "nothing": Augment(),
    "flip": Augment(flip=True),
    "jitter": Augment(jitter=0.3),
    "zoom": Augment(resize=1.5),
    "zoom out": Augment(resize=0.6),
    "aspect": Augment(letter_box=True, jitter=0.1),
    "all": Augment(0.3, 1.5, True, 0.1, 1.5, 1.5),
    "all, aspect": Augment(0.3, 1.5, True, 0.1, 1.5, 1.5, letter_box=True),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_boxes_stay_on_their_pixels(name):
    rng = np.random.default_rng(1)
    shifts = []
    for trial in range(80):
        sample = painted(random_rectangle(rng), COLOURS[trial % 4])
        result = single(sample, SIZE, OPTIONS[name], rng)
        assert result.image.shape == (*SIZE, 3) and result.image.dtype == np.uint8
        assert result.boxes.dtype == np.float32 and result.boxes.shape[1:] == (5,)
        shift = check(result.boxes, colourful(result.image))
        shifts += [] if shift is None else [shift]
    assert len(shifts) >= 50
    assert np.abs(np.mean(shifts, axis=0)).max() <= 0.15  # pixels; no lasting bias


def test_mosaic_boxes_stay_on_their_pixels():
    rng = np.random.default_rng(2)
    options = Augment(jitter=0.3, resize=1.3, flip=True, mosaic=True)
    kept = np.zeros(4, int)
    for _ in range(80):
        samples = [painted(random_rectangle(rng), COLOURS[k], label=k) for k in range(4)]
        result = augment.mosaic(samples, SIZE, options, rng)
        assert result.image.shape == (*SIZE, 3)
        for k in range(4):
            distance = np.abs(result.image.astype(int) - COLOURS[k]).max(axis=2)
            box = result.boxes[result.boxes[:, 0] == k]
            check(box, distance < 75)
            kept[k] += len(box)
    assert (kept >= 25).all()


def test_a_mosaic_shows_four_images_without_gaps():
    plain = [Sample(np.full((50, 60, 3), 50 * k + 40, np.uint8), _none(), "") for k in range(4)]
    for seed in range(20):
        options = Augment(jitter=0.2, resize=1.4, flip=True, mosaic=True)
        image = augment.mosaic(plain, SIZE, options, np.random.default_rng(seed)).image
        assert {40, 90, 140, 190} == set(np.unique(image))
        corners = image[[0, 0, -1, -1], [0, -1, 0, -1], 0]
        assert corners.tolist() == [40, 90, 140, 190]


def test_a_mosaic_shows_no_filled_margin_near_its_cut():
    shape = 100, 100
    crop = Crop(-20, 0, 140, 100)
    assert augment.margins(crop, shape, (100, 140)) == (20, 0, 20, 0)
    assert augment.margins(Crop(-20, 0, 120, 100, True), shape, (100, 120)) == (0, 0, 20, 0)
    assert augment._start(0, 50, 40, (100, 140), (20, 0, 20, 0)) == (70, 60)
    assert augment._start(1, 50, 40, (100, 140), (20, 0, 20, 0)) == (20, 60)
    assert augment._start(3, 50, 40, (100, 140), (20, 5, 20, 0)) == (20, 5)


def _none():
    return np.zeros((0, 5), np.float32)


def test_no_options_only_resize():
    sample = painted((20, 30, 60, 90), COLOURS[0], shape=SIZE)
    result = single(sample, SIZE, Augment(), np.random.default_rng(0))
    np.testing.assert_array_equal(result.image, sample.image)
    np.testing.assert_allclose(result.boxes, sample.boxes, atol=1e-7)


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


def test_colour_factors():
    rng = np.random.default_rng(0)
    draws = np.array(
        [augment.draw_colours(Augment(hue=0.1, exposure=2.0), rng) for _ in range(500)]
    )
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


def test_slivers_and_small_boxes_are_dropped():
    window = (0, 0, 100, 100)
    edges = np.array([
        (-95.0, 10, 5, 60),  # a twentieth is left
        (-40.0, 10, 60, 60),  # three fifths
        (50.0, 50, 50.5, 80),  # half a pixel wide
        (120.0, 10, 160, 60),  # outside
    ])  # fmt: skip
    kept, cut = augment.clip(edges, window, 0.1)
    assert kept.tolist() == [False, True, False, False]
    np.testing.assert_array_equal(cut, [[0, 10, 60, 60]])


def test_at_most_max_boxes_survive_and_their_order_is_drawn():
    boxes = np.array([(k, 0.5, 0.5, 0.2, 0.2) for k in range(10)], np.float32)
    sample = Sample(np.zeros((50, 50, 3), np.uint8), boxes, "")
    firsts = set()
    for seed in range(20):
        result = single(sample, (32, 32), Augment(max_boxes=4), np.random.default_rng(seed))
        assert len(set(result.boxes[:, 0])) == 4
        firsts.add(result.boxes[0, 0])
    assert len(firsts) > 4


def test_the_source_is_not_changed():
    sample = painted((20, 30, 60, 90), COLOURS[0])
    image, boxes = sample.image.copy(), sample.boxes.copy()
    options = Augment(0.3, 1.5, True, 0.1, 1.5, 1.5, mosaic=True)
    for seed in range(5):
        augment.mosaic([sample] * 4, SIZE, options, np.random.default_rng(seed))
        single(sample, SIZE, options, np.random.default_rng(seed))
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.boxes, boxes)


@pytest.mark.parametrize("bad", [dict(resize=0), dict(saturation=-1), dict(exposure=math.inf)])
def test_options_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match="expected a number above 0"):
        Augment(**bad)

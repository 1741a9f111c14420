"""Augmentation of classifiers: the crop against Darknet's formula, pixel by pixel; labels against
the areas that the images have."""

import math

import numpy as np
import pytest

from yolo.data.augment import ClassifierAugment
from yolo.data.augment.classifier import draw_matrix, picture
from yolo.data.lists import DataError
from yolo.data.sample import Sample

SIZE = (40, 60)
LEVELS = 30, 90, 150, 210


class Fixed:
    """A generator whose draws are known: integers the least, shares in the given order."""

    def __init__(self, *shares):
        self.shares = list(shares)

    def integers(self, low, high=None):
        return low if high is not None else 0

    def random(self):
        return self.shares.pop(0)

    def uniform(self, low, high, size=None):
        draws = [self.shares.pop(0) for _ in range(size or 1)]
        values = low + (high - low) * np.array(draws)
        return values if size else float(values[0])


def darknet(image, angle, aspect, shorter, shift, side):
    """The square that Darknet cuts: its loop, in float64. `shift` is the share of the room."""
    height, width = image.shape[:2]
    scale = shorter / int(min(height, width * aspect))
    dx, dy = (
        share * max(0, room / 2)
        for share, room in zip(
            shift, (width * scale / aspect - side, height * scale - side), strict=True
        )
    )
    cos, sin = math.cos(angle), math.sin(angle)
    out = np.zeros((side, side, 3))
    for y in range(side):
        for x in range(side):
            u = (x - side / 2) / scale * aspect + dx / scale * aspect
            v = (y - side / 2) / scale + dy / scale
            out[y, x] = bilinear(
                image, cos * u - sin * v + width / 2, sin * u + cos * v + height / 2
            )
    return out


def bilinear(image, x, y):
    """Black outside, as Darknet's."""
    left, top = math.floor(x), math.floor(y)
    value = np.zeros(3)
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
            weight = (1 - abs(x - column)) * (1 - abs(y - row))
            value += weight * image[row, column]
    return value


@pytest.mark.parametrize("shift", [(0.5, 0.5), (0.9, 0.2)])
@pytest.mark.parametrize("turn", [0.5, 0.9])
@pytest.mark.parametrize(("aspect", "stretch"), [(1.0, []), (1.5, [0.6, 0.2])])
def test_the_crop_is_darknets(shift, turn, aspect, stretch):
    """A smooth picture: OpenCV's coordinates have 5 bits behind the point."""
    grid = np.mgrid[0:50, 0:70].astype(float)
    image = 120 + 60 * np.sin(grid[0] / 9)[..., None] + 50 * np.cos(grid[1] / 11)[..., None]
    image = np.repeat(image, 3, axis=2).astype(np.uint8)
    options = ClassifierAugment(45, 90, angle=20, aspect=aspect)
    drawn = [*stretch, turn, *shift]
    found = picture(image, (32, 32), options, Fixed(*drawn))
    angle = math.radians(-20 + 40 * turn)
    factor = 1 + 0.6 * (aspect - 1) if stretch else 1.0  # the second draw says: not its reciprocal
    wanted = darknet(image, angle, factor, 45, [2 * s - 1 for s in shift], 32)
    inside = wanted.min(2) > 0
    assert inside.mean() > 0.5
    assert np.abs(found - wanted)[inside].max() <= 4


def test_outside_of_the_image_is_black():
    image = np.full((40, 40, 3), 200, np.uint8)
    found = picture(image, (64, 64), ClassifierAugment(32, 32), np.random.default_rng(0))
    assert (found[:15] == 0).all() and (found[18:46, 18:46] == 200).all()


def test_crops_and_angles_stay_within_their_options():
    rng = np.random.default_rng(0)
    options = ClassifierAugment(30, 60, angle=10, aspect=1.5)
    matrices = [draw_matrix((80, 100), (32, 32), options, rng)[:, :2] for _ in range(2000)]
    angles = np.array([math.degrees(math.atan2(m[1, 0], m[0, 0])) for m in matrices])
    assert angles.min() < -9.5 and angles.max() > 9.5 and np.abs(angles).max() <= 10
    columns = np.array([np.linalg.norm(m, axis=0) for m in matrices])
    aspects, scales = columns[:, 0] / columns[:, 1], 1 / columns[:, 1]
    assert 1 / 1.5 - 1e-6 <= aspects.min() < 0.68 and 1.48 < aspects.max() <= 1.5 + 1e-6
    shorter = scales * np.trunc(np.minimum(80, 100 * aspects + 1e-6))
    assert 30 - 0.5 <= shorter.min() < 32 and 58 < shorter.max() <= 60.5


def test_a_flat_network_sees_the_whole_square():
    """Darknet cuts a square as wide as the longer side and shrinks it, corners aligned."""
    image = np.repeat(np.arange(64, dtype=np.uint8)[:, None, None] * 4, 64, axis=1).repeat(3, 2)
    found = picture(image, (16, 64), ClassifierAugment(64, 64), np.random.default_rng(0))
    rows = found[:, 30, 0].astype(float)
    np.testing.assert_allclose(rows, np.linspace(0, 63 * 4, 16), atol=2)


def plain(count):
    return [
        Sample(np.full((120, 180, 3), LEVELS[k], np.uint8), None, f"{k}.png", labels=np.eye(4)[k])
        for k in range(count)
    ]


def areas(image):
    return np.array([(image[..., 0] == level).mean() for level in LEVELS])


@pytest.mark.parametrize(("options", "count"), [
    (dict(), 1), (dict(mixup=True), 2), (dict(cutmix=True), 2), (dict(mosaic=True), 4),
    (dict(mixup=True, cutmix=True), 2), (dict(cutmix=True, mosaic=True), 2),
    (dict(cutmix=True, mosaic=True), 4),
])  # fmt: skip
def test_labels_are_the_shares_of_the_images(options, count):
    options = ClassifierAugment(80, 80, **options)
    for seed in range(20):
        sample = options.make(plain(count), SIZE, np.random.default_rng(seed))
        assert sample.image.shape == (*SIZE, 3) and sample.labels.dtype == np.float32
        if options.mixup and not options.cutmix and count == 2:
            assert (sample.image == 60).all()
            np.testing.assert_allclose(sample.labels, [0.5, 0.5, 0, 0])
        else:
            np.testing.assert_allclose(sample.labels, areas(sample.image), atol=1e-6)


def test_cutmix_and_mosaic_within_their_ranges():
    rng = np.random.default_rng(0)
    cut = [ClassifierAugment(80, 80, cutmix=True).make(plain(2), SIZE, rng) for _ in range(400)]
    shares = np.array([sample.labels[1] for sample in cut])
    assert 0.09 <= shares.min() < 0.13 and 0.55 < shares.max() <= 0.64
    tiles = [ClassifierAugment(80, 80, mosaic=True).make(plain(4), SIZE, rng) for _ in range(200)]
    shares = np.array([sample.labels for sample in tiles])
    assert 0.04 <= shares.min() < 0.06 and 0.55 < shares.max() <= 0.64
    corners = np.array([sample.image[[0, 0, -1, -1], [0, -1, 0, -1], 0] for sample in tiles])
    assert (corners == LEVELS).all()


@pytest.mark.parametrize(("options", "wanted"), [
    (dict(), {1}), (dict(mixup=True), {1, 2}), (dict(mixup=True, mosaic=True), {1, 4}),
    (dict(cutmix=True), {1, 2}), (dict(cutmix=True, mosaic=True), {1, 2, 4}),
])  # fmt: skip
def test_several_images_go_into_every_other_sample(options, wanted):
    rng = np.random.default_rng(0)
    options = ClassifierAugment(32, 64, **options)
    needed = [options.images_needed(rng) for _ in range(600)]
    assert set(needed) == wanted
    if len(wanted) > 1:
        assert 250 < needed.count(1) < 350


@pytest.mark.parametrize("blur", [1, 9])
def test_a_fourth_of_the_samples_is_blurred(blur):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    sample = Sample(noise, None, "", labels=np.ones(1))
    made = [ClassifierAugment(40, 40, blur=blur).make([sample], SIZE, rng) for _ in range(300)]
    soft = sum(result.image[15:25, 25:35].std() < 40 for result in made)
    assert 50 < soft < 100


@pytest.mark.parametrize(
    "bad", [dict(aspect=0), dict(min_crop=0), dict(min_crop=90), dict(exposure=-1)]
)
def test_options_that_make_no_sense_are_refused(bad):
    with pytest.raises(DataError, match="expected"):
        ClassifierAugment(**{"min_crop": 32, "max_crop": 64} | bad)

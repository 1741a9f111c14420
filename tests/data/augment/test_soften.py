"""Blur and noise."""

import cv2
import numpy as np
import pytest

from yolo.data.augment import Augment
from yolo.data.augment.soften import GROUND, blurred, draw_blur, draw_noise, kernel, limited, noisy
from yolo.data.sample import Sample

EDGES = np.array([(10.2, 12.0, 30.5, 40.0), (60.0, 5.0, 95.0, 50.0)])


def test_each_blur_in_a_third_of_all_cases():
    rng = np.random.default_rng(0)
    drawn = [draw_blur(9, rng) for _ in range(900)]
    assert set(drawn) == {0, GROUND, 9}
    assert all(250 < drawn.count(blur) < 350 for blur in set(drawn))
    assert {draw_blur(0, rng) for _ in range(20)} == {0}


@pytest.mark.parametrize(
    ("blur", "side", "expected"),
    [(9, 96, 9), (9, 60, 7), (9, 15, GROUND), (9, 7, 0), (GROUND, 7, GROUND), (0, 96, 0)],
)
def test_a_kernel_is_at_most_an_eighth_of_the_smallest_object(blur, side, expected):
    edges = np.array([(0.0, 0.0, 100.0, 120.0), (5.0, 5.0, 5.0 + side, 110.0)])
    assert limited(blur, edges) == expected


def test_without_objects_only_the_ground_is_blurred():
    none = np.zeros((0, 4))
    assert [limited(blur, none) for blur in (0, GROUND, 9)] == [0, GROUND, 0]


@pytest.mark.parametrize(("blur", "width"), [(GROUND, 17), (2, 3), (3, 3), (8, 9), (9, 9)])
def test_kernels_are_odd(blur, width):
    assert kernel(blur) == width


def test_objects_stay_sharp_on_a_blurred_ground():
    image = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    soft = blurred(image, GROUND, EDGES)
    inside = np.zeros((60, 100), bool)
    inside[12:40, 10:31] = inside[5:50, 60:95] = True
    np.testing.assert_array_equal(soft[inside], image[inside])
    np.testing.assert_array_equal(soft[~inside], cv2.GaussianBlur(image, (17, 17), 0)[~inside])
    assert soft[~inside].std() < 0.3 * image[~inside].std()


def test_boxes_outside_of_the_image_spare_nothing():
    image = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    outside = np.array([(-30.0, -20.0, -5.0, -2.0), (120.0, 10.0, 150.0, 30.0)])
    wanted = cv2.GaussianBlur(image, (17, 17), 0)
    np.testing.assert_array_equal(blurred(image, GROUND, outside), wanted)


def test_noise_every_other_time_and_of_another_seed_each_time():
    rng = np.random.default_rng(0)
    drawn = [draw_noise(20, rng) for _ in range(400)]
    deviations = [deviation for deviation, _ in drawn]
    assert set(deviations) == {0, 20} and 160 < deviations.count(20) < 240
    assert len({seed for _, seed in drawn}) > 150
    assert max(draw_noise(500, rng)[0] for _ in range(20)) == 127


def test_noise_is_half_a_normal_distribution_in_each_channel():
    image = np.full((200, 200, 3), 100, np.uint8)
    noise = noisy(image, 20, 7).astype(int) - 100
    np.testing.assert_array_equal(noise, noisy(image, 20, 7).astype(int) - 100)
    for plane in np.moveaxis(noise, 2, 0):
        assert plane.min() == 0 and abs((plane == 0).mean() - 0.5) < 0.03
        assert abs(np.sqrt((plane[plane > 0] ** 2).mean()) - 20) < 1
    assert (noisy(np.full_like(image, 250), 100, 7) >= 250).all()  # it does not overflow


def test_a_sample_is_blurred_and_noisy():
    image = np.random.default_rng(0).integers(100, 150, (64, 64, 3), dtype=np.uint8)
    sample = Sample(image, np.zeros((0, 5), np.float32), "")
    rough = [
        Augment(blur=1, gaussian_noise=30).make([sample], (64, 64), np.random.default_rng(k)).image
        for k in range(20)
    ]
    spread = [picture.std() for picture in rough]
    assert min(spread) < 0.2 * image.std() and max(spread) > 1.2 * image.std()

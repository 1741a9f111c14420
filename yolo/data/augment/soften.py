"""Blur and noise, after the colours and before images are combined."""

import cv2
import numpy as np

GROUND = 1  # the blur that spares the objects
GROUND_WIDTH = 17  # pixels of its kernel
OBJECT_SHARE = 8  # other kernels stay below the smallest side of an object by this factor
LARGEST_DEVIATION = 127  # of the noise, in levels


def draw_blur(strength, rng):
    """None (0), GROUND or `strength`, the width of a kernel; each in a third of all cases."""
    return (0, GROUND, strength)[rng.integers(3)] if strength else 0


def limited(blur, edges):
    """The kernel that leaves objects with these edges (n, 4) recognisable. As in Darknet, a
    small object turns it into GROUND, and without objects there is none."""
    if blur <= GROUND:
        return blur
    smallest = int((edges[:, 2:] - edges[:, :2]).min()) if len(edges) else 0
    return min(blur, smallest // OBJECT_SHARE)


def kernel(blur):
    """Width of the Gaussian kernel, odd."""
    return GROUND_WIDTH if blur == GROUND else 2 * (blur // 2) + 1


def blurred(image, blur, edges):
    """The image blurred; with GROUND what lies inside of edges (n, 4) stays sharp."""
    soft = cv2.GaussianBlur(image, (kernel(blur),) * 2, 0)
    if blur == GROUND:
        low = np.maximum(np.floor(edges[:, :2]), 0).astype(int)
        high = np.maximum(np.ceil(edges[:, 2:]), 0).astype(int)
        for (left, top), (right, bottom) in zip(low, high, strict=True):
            soft[top:bottom, left:right] = image[top:bottom, left:right]
    return soft


def draw_noise(deviation, rng):
    """(standard deviation, seed) of the noise: none every other time."""
    if not deviation or rng.random() < 0.5:
        return 0, 0
    return min(deviation, LARGEST_DEVIATION), int(rng.integers(1 << 31))


def noisy(image, deviation, seed):
    """Normal noise added in 8 bits. Darknet stores it without a sign, so negative values become
    0 and half of the pixels get brighter; trained models know it so."""
    cv2.setRNGSeed(seed)
    noise = cv2.randn(np.empty_like(image), (0.0,) * 3, (float(deviation),) * 3)
    return cv2.add(image, noise)

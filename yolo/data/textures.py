"""Backgrounds for drawn scenes: patterns, clouds, muted colours and uneven light, all 8-bit."""

import cv2
import numpy as np

TILE = 32  # pixels; patterns repeat after this much, scaled and turned


def background(size, rng):
    """uint8 (height, width, 3): two muted colours mixed by a pattern and by clouds."""
    field = clouds(size, rng)
    if rng.random() < 0.75:
        pattern = PATTERNS[rng.integers(len(PATTERNS))]
        share = rng.uniform(0.3, 0.75)
        field = cv2.addWeighted(_spread(pattern(rng), size, rng), share, field, 1 - share, 0)
    ramp = np.linspace(0, 1, 256)[:, None]
    first, second = muted(rng), muted(rng)
    table = (first * (1 - ramp) + second * ramp).astype(np.uint8)
    return cv2.LUT(cv2.merge((field, field, field)), table[None])


def muted(rng):
    """A colour of little saturation and middle brightness, as RGB from 0 to 255."""
    tint, grey = rng.uniform(0, 1, 3), rng.uniform(80, 205)
    return np.clip(grey + rng.uniform(20, 95) * (tint - tint.mean()), 0, 255)


def clouds(size, rng):
    """Soft random blobs, three octaves; uint8 (height, width)."""
    height, width = size
    total = np.zeros((height, width), np.uint8)
    for cells, weight in ((3, 0.5), (7, 0.3), (19, 0.2)):
        grid = rng.integers(0, 256, (cells, cells), dtype=np.uint8)
        octave = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        total = cv2.addWeighted(total, 1, octave, weight, 0)
    return total


def lit(image, rng):
    """The image under uneven light, with a little grain."""
    height, width = image.shape[:2]
    light = rng.integers(125, 190, (2, 3), dtype=np.uint8)
    light = cv2.resize(light, (width, height), interpolation=cv2.INTER_CUBIC)
    image = cv2.multiply(image, cv2.merge((light, light, light)), scale=1 / 155)
    strength = int(rng.integers(1, 9))
    grain = rng.integers(0, 2 * strength + 1, (height, width), dtype=np.uint8)
    image = cv2.add(image, cv2.merge((grain, grain, grain)))
    return cv2.subtract(image, (strength, strength, strength, 0))


def _spread(tile, size, rng):
    """Repeats a tile over the whole size, turned, scaled and shifted."""
    angle, scale = rng.uniform(0, np.pi), TILE / rng.uniform(14, 60) * 256 / max(256, min(size))
    turn = scale * np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))
    # Enough copies for any angle: wrapping at the border instead costs ten times as long.
    copies = int(np.hypot(*size) * scale / TILE) + 3
    middle = copies * TILE / 2 + rng.uniform(-TILE / 2, TILE / 2, 2)
    matrix = np.column_stack((turn, middle - turn @ (size[1] / 2, size[0] / 2)))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(np.tile(tile, (copies, copies)), matrix, size[::-1], flags=flags)


def _stripes(rng):
    wave = 127.5 + 127.5 * np.sin(np.arange(TILE) * (2 * np.pi / TILE))
    if rng.random() < 0.5:
        wave = np.where(np.arange(TILE) < TILE * rng.uniform(0.2, 0.8), 40.0, 215.0)
    return np.tile(wave.astype(np.uint8), (TILE, 1))


def _checks(rng):
    tile = np.full((TILE, TILE), 50, np.uint8)
    half = TILE // 2
    tile[:half, :half] = tile[half:, half:] = 205
    return tile


def _dots(rng):
    tile = np.full((TILE, TILE), 60, np.uint8)
    center = (TILE // 2, TILE // 2)
    cv2.circle(tile, center, int(rng.integers(4, 12)), 220, -1, cv2.LINE_AA)
    return tile


def _bricks(rng):
    tile = np.full((TILE, TILE), 190, np.uint8)
    half, joint = TILE // 2, int(rng.integers(1, 4))
    tile[:joint] = tile[half : half + joint] = 50
    tile[:half, :joint] = tile[half:, half : half + joint] = 50
    return tile


def _weave(rng):
    x, y = np.meshgrid(*2 * (np.arange(TILE) * (2 * np.pi / TILE),))
    return (127.5 + 63 * np.sin(x) + 63 * np.sin(y + rng.uniform(0, np.pi))).astype(np.uint8)


PATTERNS = (_stripes, _checks, _dots, _bricks, _weave)

"""Square windows of one image for MTCNN: of each kind as many as the faces in it call for.

    positive   IoU with a face of at least 0.65        part       0.4 to 0.65
    landmark   as positive, landmarks known            negative   below 0.3 with every face

(Zhang et al. 2016.) Windows are drawn around a face: a side from 0.8 times its shorter to 1.25
times its longer one, the centre up to a fifth of the face's sides away; so landmarks move in them.
Half of the negatives lie anywhere, with sides from the smallest to half the image; the other half
near a face, which is what is hard to tell from one.
"""

import numpy as np

from ...face_kinds import FaceKind
from .windows import crops

POSITIVE, PART, NEGATIVE = 0.65, 0.4, 0.3
RATIO = {  # of the kinds in a data set
    FaceKind.NEGATIVE: 3,
    FaceKind.POSITIVE: 1,
    FaceKind.PART: 1,
    FaceKind.LANDMARK: 2,
}
SMALLEST = 12  # pixels: smaller windows hold nothing to see
DRAWS = 20  # windows drawn for each that is wanted; those that fit no kind are left


def record(size):
    """One sample, as NumPy stores it."""
    return np.dtype(
        [
            ("kind", "u1"),
            ("box", "<f4", 4),
            ("landmarks", "<f4", (5, 2)),
            ("image", "u1", (size, size, 3)),
        ]
    )


def draw_samples(image, faces, size, each, rng):
    """Samples of one image as records: `each` positives and parts a face, other kinds by RATIO."""
    windows, rows = [], []
    for index in np.flatnonzero(faces.clear):
        face = faces.boxes[index]
        if (face[2:] - face[:2]).max() < SMALLEST:
            continue
        known = not np.isnan(faces.landmarks[index]).any()
        for kind, chosen in _around(faces, index, each, known, rng):
            windows.append(chosen)
            rows += [(kind, *_truth(w, face, faces.landmarks[index], known)) for w in chosen]
    negatives = _negatives(image.shape, faces, RATIO[FaceKind.NEGATIVE] * each, rng)
    windows.append(negatives)
    nothing = np.zeros(4), np.zeros((5, 2))
    rows += [(FaceKind.NEGATIVE, *nothing) for _ in negatives]
    samples = np.zeros(len(rows), record(size))
    for name, column in zip(("kind", "box", "landmarks"), zip(*rows, strict=True), strict=False):
        samples[name] = column
    samples["image"] = crops(image, np.concatenate(windows), size)
    return samples


def _around(faces, index, each, known, rng):
    """(kind, windows) around one face."""
    wanted = {kind: each * share for kind, share in RATIO.items() if kind != FaceKind.NEGATIVE}
    if not known:
        del wanted[FaceKind.LANDMARK]
    windows = near(faces.boxes[index], DRAWS * sum(wanted.values()), 0.2, rng)
    overlap = iou(windows, faces.boxes[index : index + 1])[:, 0]
    full = windows[overlap >= POSITIVE]
    part = windows[(overlap >= PART) & (overlap < POSITIVE)]
    yield FaceKind.POSITIVE, full[:each]
    yield FaceKind.PART, part[:each]
    if known:
        yield FaceKind.LANDMARK, full[each : each + wanted[FaceKind.LANDMARK]]


def near(face, count, shift, rng):
    """(count, 4) squares of whole pixels whose centres lie up to `shift` of the face's sides from
    its own."""
    sides = face[2:] - face[:2]
    side = rng.uniform(0.8 * sides.min(), 1.25 * sides.max(), count).round().clip(SMALLEST)
    centre = (face[:2] + face[2:]) / 2 + rng.uniform(-shift, shift, (count, 2)) * sides
    corner = np.round(centre - side[:, None] / 2)
    return np.hstack((corner, corner + side[:, None]))


def _negatives(shape, faces, each, rng):
    """Windows that hold no face: `each` for each face that has samples, as many for an image
    without any."""
    height, width = shape[:2]
    limit = min(height, width) // 2
    clear = faces.boxes[faces.clear]
    clear = clear[(clear[:, 2:] - clear[:, :2]).max(1, initial=0) >= SMALLEST]
    wanted = each * max(1, len(clear))
    found = [np.zeros((0, 4))]
    if limit >= SMALLEST:
        count = DRAWS * wanted // 2
        side = np.exp(rng.uniform(np.log(SMALLEST), np.log(limit), count)).round()[:, None]
        corner = np.floor(rng.uniform(0, 1, (count, 2)) * ((width, height) - side + 1))
        found.append(_apart(np.hstack((corner, corner + side)), faces)[: wanted - wanted // 2])
    for face in clear:
        beside = _apart(near(face, DRAWS * each // 2, 1.0, rng), faces)
        found.append(beside[: each // 2])
    return np.concatenate(found)


def _apart(windows, faces):
    """Those that overlap no face by NEGATIVE."""
    return windows[iou(windows, faces.boxes).max(1, initial=0) < NEGATIVE]


def _truth(window, face, landmarks, known):
    """(offsets of the edges, places of the landmarks) in units of the window's side."""
    side = window[2] - window[0]
    marks = (landmarks - window[:2]) / side if known else np.zeros((5, 2))
    return (face - window) / side, marks


def iou(a, b):
    """(n, m) of boxes (n, 4) and (m, 4), left, top, right, bottom."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clip(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)]
    return shared / (areas[0][:, None] + areas[1] - shared)

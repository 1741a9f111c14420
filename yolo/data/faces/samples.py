"""Samples on the disk, and the data set that they are.

`prepare` writes them in files of GROUP images each into a folder whose name tells what they were
made from. What a stopped run has written stays: the next one makes the files that are missing. The
random numbers of an image follow from the seed and its place in the list alone.
"""

from hashlib import sha256
from pathlib import Path

import numpy as np

from ...face_kinds import FaceKind
from ...files import replacing
from ..check import Check
from ..image import ImageError
from ..labels import LabelError
from ..lists import DataError
from ..sample import Sample
from .sampling import RATIO, draw_samples, record

GROUP = 32  # images of one file
EACH = 8  # positive samples of a face
FORMAT = 1  # of the files; higher where the same settings give other samples
NO_BOXES = np.zeros((0, 5), np.float32)


def prepare(faces, folder, size, seed=0, each=EACH, progress=None):
    """FaceSamples of `size` pixels from images with faces (pictures.open_faces), in a folder
    below `folder`. progress: called with (images done, all)."""
    folder = Path(folder) / f"faces-{size}-{fingerprint(faces, size, seed, each)}"
    folder.mkdir(parents=True, exist_ok=True)
    paths, check = [], Check()
    for first in range(0, len(faces), GROUP):
        group = range(first, min(first + GROUP, len(faces)))
        paths.append(folder / f"{first // GROUP:06}.npy")
        if not _is_whole(paths[-1], size):
            samples = [_samples(faces, index, size, seed, each, check) for index in group]
            check.judge(faces.path)
            with replacing(paths[-1]) as file:
                np.save(file, np.concatenate(samples), allow_pickle=False)
        if progress:
            progress(group.stop, len(faces))
    return FaceSamples(paths, size, check.broken)


def fingerprint(faces, size, seed, each):
    """Of what decides the samples but the pixels of the images."""
    found = sha256(repr((FORMAT, size, seed, each, len(faces))).encode())
    for index in range(len(faces)):
        try:
            found.update(faces.mark(index))
        except (ImageError, LabelError) as error:  # named again when its samples are made
            found.update(str(error).encode(errors="surrogateescape"))
    return found.hexdigest()[:12]


def _samples(faces, index, size, seed, each, check):
    """Of one image; none where it is broken."""
    check.images += 1
    try:
        image, found, _ = faces.load(index)
    except (ImageError, LabelError) as error:
        check.broken.append(str(error))
        return np.zeros(0, record(size))
    check.boxes += len(found.boxes)
    return draw_samples(image, found, size, each, np.random.default_rng((seed, index)))


def _is_whole(path, size):
    """Whether a file of an earlier run can be used."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False).dtype == record(size)
    except (OSError, ValueError, EOFError):
        return False


class FaceSamples:
    """Samples of one size, kinds in RATIO to each other, those that are there at all."""

    names = ("face",)
    classes = 1

    def __init__(self, paths, size, broken=()):
        self.paths, self.size, self.broken = list(paths), size, list(broken)
        self.files = [np.load(path, mmap_mode="r", allow_pickle=False) for path in self.paths]
        self.kinds = np.concatenate([np.asarray(file["kind"]) for file in self.files])
        self.starts = np.cumsum([0, *(len(file) for file in self.files)])
        self.learn_landmarks(True)

    def learn_landmarks(self, wanted):
        """Whether samples have landmarks, and landmark samples take part."""
        self.landmarks = wanted
        left_out = () if wanted else (FaceKind.LANDMARK,)
        self.chosen = self._in_ratio({k: n for k, n in RATIO.items() if k not in left_out})

    def _in_ratio(self, ratio):
        """Numbers of the samples that are used: as many of each kind as the scarcest allows."""
        places = {kind: np.flatnonzero(self.kinds == kind) for kind in ratio}
        if not len(places[FaceKind.POSITIVE]) or not len(places[FaceKind.NEGATIVE]):
            raise DataError(
                f"{self.paths[0].parent if self.paths else '-'}: no face of 12 pixels or more in "
                "these images, or nothing but faces"
            )
        unit = min(len(p) / ratio[kind] for kind, p in places.items() if len(p))
        rng = np.random.default_rng(0)
        chosen = [
            rng.permutation(p)[: round(unit * ratio[kind])] for kind, p in places.items() if len(p)
        ]
        return np.sort(np.concatenate(chosen))

    def counts(self):
        """{FaceKind: samples that are used}."""
        return {kind: int((self.kinds[self.chosen] == kind).sum()) for kind in FaceKind}

    def __len__(self):
        return len(self.chosen)

    def __getitem__(self, index):
        return self.load(index)

    def load(self, index):
        """The sample; its labels are kind, offsets of the edges, x and then y of the landmarks."""
        number = int(self.chosen[index])
        place = int(np.searchsorted(self.starts, number, "right")) - 1
        row = self.files[place][number - self.starts[place]]
        marks = row["landmarks"].T.ravel() if self.landmarks else ()
        labels = np.concatenate(([row["kind"]], row["box"], marks)).astype(np.float32)
        return Sample(np.array(row["image"]), NO_BOXES, str(self.paths[place]), labels=labels)

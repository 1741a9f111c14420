"""A list of images divided into one to train on and one to measure on."""

import os
from collections import Counter, defaultdict
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ..files import atomic
from .formats.collection import on_one_line, writable
from .image import contents
from .lists import DataError


def divide(dataset, share, seed=0, stratify=True, progress=None):
    """(indices to train on, indices to measure on), both in the list's order.

    share: of the images that are held out, 0 < share < 1, rounded, at least one.  stratify: the
    same share of each class, as far as that goes: images are dealt by the rarest class in them.
    Images of equal content stay together.
    """
    if len(dataset) < 2:
        raise DataError(f"{dataset.path}: {len(dataset)} image; two are needed to divide them")
    groups = _groups(dataset, progress)
    order = np.random.default_rng(seed).permutation(len(groups))
    groups = [groups[k] for k in order]
    if stratify:
        groups = _by_rarest(dataset, groups)
    total, wanted = len(dataset), min(len(dataset) - 1, max(1, round(share * len(dataset))))
    held, seen = [], 0
    for group in groups:  # each time the count falls behind its share, a group is held out
        seen += len(group)
        if (
            len(held) + len(group) <= wanted
            and (len(held) + len(group) / 2) * total < wanted * seen
        ):
            held += group
    if not held:
        held = list(min(groups, key=len))
    chosen = set(held)
    if len(chosen) == total:
        raise DataError(f"{dataset.path}: all images have the same content; nothing to divide")
    return [k for k in range(total) if k not in chosen], sorted(chosen)


def _groups(dataset, progress):
    """Indices of images of equal content, together."""
    groups = defaultdict(list)
    for index in range(len(dataset)):
        groups[blake2b(contents(dataset.image_path(index)), digest_size=16).digest()].append(index)
        if progress:
            progress(index + 1, len(dataset))
    return list(groups.values())


def _by_rarest(dataset, groups):
    """The groups one class after the other, each under the rarest class in it."""
    classes = [
        {int(c) for index in group for c in dataset.boxes(index)[0][:, 0]} for group in groups
    ]
    counts = Counter(c for present in classes for c in present)
    rarest = [min(present, key=lambda c: (counts[c], c), default=-1) for present in classes]
    return [groups[k] for k in sorted(range(len(groups)), key=lambda k: rarest[k])]


def write(dataset, parts, out, name, overwrite=False):
    """OUT/train.txt, valid.txt, NAME.names and NAME.data; gives the path of the last. Images below
    OUT are listed relative to it, others by their absolute paths."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    names = dataset.names or [str(c) for c in range(dataset.classes or 0)]
    texts = {
        part: "".join(f"{_listed(dataset.image_path(k), out)}\n" for k in indices)
        for part, indices in parts.items()
    }
    files = {out / f"{part}.txt": text for part, text in texts.items()}
    head = f"classes = {len(names)}\n" if names else ""
    files[out / f"{name}.names"] = "".join(f"{on_one_line(n, 'class')}\n" for n in names)
    lists = "".join(f"{part} = {part}.txt\n" for part in parts)
    files[out / f"{name}.data"] = f"{head}{lists}names = {name}.names\nbackup = backup\n"
    for path in files:
        writable(path, overwrite)
    for path, text in files.items():
        atomic(path, text)
    return out / f"{name}.data"


def _listed(path, out):
    path = os.path.realpath(path)
    root = os.path.realpath(out)
    below = os.path.commonpath([path, root]) == root
    return on_one_line(os.path.relpath(path, root) if below else path, "image")

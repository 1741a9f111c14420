"""Darknet's label files, to and from a Collection."""

import os
from pathlib import Path

from ...files import atomic
from .. import image, labels
from ..dataset import Dataset
from ..inspection import PARTS
from ..lists import read_names
from ..paths import shown
from .collection import (
    RELATIVE,
    Collection,
    FormatError,
    Object,
    Picture,
    bring,
    names_below,
    on_one_line,
    writable,
)  # fmt: skip


def read(source, part="train", progress=None):
    """The images and labels of one list of a `.data` file."""
    dataset = Dataset.from_data(source, part)
    found = Collection([], [])
    paths = [dataset.image_path(k) for k in range(len(dataset))]
    _, names = names_below(paths)
    for done, (path, name) in enumerate(zip(paths, names, strict=True), start=1):
        height, width = image.read(path).shape[:2]
        objects = _objects(path, dataset.classes, found.notes)
        found.pictures.append(Picture(path, name, height, width, objects))
        if progress:
            progress(done, len(paths))
    last = max((o.label for p in found.pictures for o in p.objects), default=-1)
    count = dataset.classes or last + 1
    found.names = dataset.names or [str(label) for label in range(count)]
    if last >= len(found.names):
        raise FormatError(
            f"{shown(source)}: class {last} has no name; {len(found.names)} are known"
        )
    return found


def _objects(path, classes, notes):
    label = labels.find(path)
    if label is None:
        notes["images without a label file are taken as empty"] += 1
        return []
    objects = []
    for line, box, problem in labels.rows(label, classes):
        if problem and box is None:
            raise labels.LabelError(f"{shown(label)}:{line}: {problem}")
        if problem:
            notes["boxes were mended or left out, as training does (data check names them)"] += 1
        if box:
            objects.append(Object(int(box[0]), tuple(box[1:])))
    return objects


def write(collection, out, part="train", link=False, overwrite=False):
    """OUT/images with label files beside the images, OUT/PART.txt, and OUT/OUT.names and .data."""
    out = Path(out)
    names = [on_one_line(name, "class") for name in collection.names]
    lines = [on_one_line(f"images/{p.name}", "image") for p in collection.pictures]
    stems = [os.path.splitext(line)[0] for line in lines]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise FormatError(f"{shown(twice)}: two images would share this label file; rename one")
    base = out.resolve().name or "data"
    writable(out / f"{part}.txt", overwrite)
    _same_names(out / f"{base}.names", names, overwrite)
    for picture in collection.pictures:
        target = bring(picture, out / "images", link, overwrite)
        text = "".join(_lines(picture, collection.notes))
        atomic(writable(target.with_suffix(".txt"), overwrite), text)
    atomic(out / f"{part}.txt", "".join(f"{line}\n" for line in lines))
    atomic(out / f"{base}.names", "".join(f"{name}\n" for name in names))
    lists = "".join(f"{p} = {p}.txt\n" for p in PARTS if (out / f"{p}.txt").exists())
    data = f"classes = {len(names)}\n{lists}names = {base}.names\nbackup = backup\n"
    atomic(out / f"{base}.data", data)
    return out / f"{base}.data"


def _lines(picture, notes):
    for item in picture.objects:
        if item.extra.get("iscrowd"):
            notes["crowd regions were left out: Darknet has none"] += 1
        elif not (item.box[2] > 0 and item.box[3] > 0):
            notes["boxes without area were left out"] += 1
        else:
            if item.extra.get("difficult"):
                notes["difficult boxes were kept as ordinary ones: labels have no such mark"] += 1
            if "area" in item.extra:
                notes["areas and other fields were dropped: labels have boxes only"] += 1
            numbers = " ".join(f"{round(v, RELATIVE):.{RELATIVE}f}".rstrip("0").rstrip(".")
                               for v in item.box)  # fmt: skip
            yield f"{item.label} {numbers}\n"


def _same_names(path, names, overwrite):
    """The second list of a data set must have the classes of the first."""
    if path.exists() and not overwrite and read_names(path) != names:
        raise FormatError(f"{shown(path)}: has other classes; --overwrite replaces them")

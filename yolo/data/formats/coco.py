"""COCO's annotation json, to and from a Collection."""

import json
import math
import re
from collections import defaultdict
from pathlib import Path

from ...detections import COCO_CATEGORIES
from ...files import atomic
from ..paths import shown
from .collection import (
    PIXELS,
    Collection,
    FormatError,
    Object,
    Picture,
    box_of,
    names_below,
    writable,
)  # fmt: skip

FILE_LIMIT = 1 << 30  # bytes of an annotation file
NUMBER = (int, float)
FIELDS = {
    "images": {"id": int, "file_name": str},
    "categories": {"id": int, "name": str},
    "annotations": {"image_id": int, "category_id": int, "bbox": list, "area": NUMBER},
}


def category_ids(classes):
    """The COCO id of each class: Darknet's for the 80 classes of COCO, else from 1."""
    return COCO_CATEGORIES if classes == len(COCO_CATEGORIES) else list(range(1, classes + 1))


def image_ids(paths):
    """An id for each image: the last number in its name where each has one of its own (`atoi` of
    the whole name is Darknet's way), else its place from 1."""
    numbers = [re.findall(r"\d+", Path(path).stem)[-1:] for path in paths]
    ids = [int(found[0][:20]) for found in numbers if found]
    if len(set(ids)) == len(paths) and all(i < 2**53 for i in ids):
        return ids
    return list(range(1, len(paths) + 1))


def load(path):
    """The content of an annotation file, checked as far as anything here relies on it."""
    try:
        if Path(path).stat().st_size > FILE_LIMIT:
            raise FormatError(f"{shown(path)}: larger than {FILE_LIMIT} bytes")
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{shown(path)}: {getattr(error, 'strerror', None) or error}") from None
    for key, wanted in FIELDS.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise FormatError(f"{shown(path)}: has no list '{key}'; expected COCO annotations")
        for number, entry in enumerate(content[key]):
            for name, kind in wanted.items():
                if not isinstance(entry, dict) or not isinstance(entry.get(name), kind):
                    raise FormatError(f"{shown(path)}: {key}[{number}] has no usable '{name}'")
    _check_links(content, path)
    return content


def _check_links(content, path):
    """Numbers that are finite, and ids that exist, each once."""
    known = {}
    for key in ("images", "categories"):
        known[key] = {entry["id"] for entry in content[key]}
        if len(known[key]) < len(content[key]):
            raise FormatError(f"{shown(path)}: {key}: an id is there twice")
    for number, a in enumerate(content["annotations"]):
        where = f"{shown(path)}: annotations[{number}]"
        box = a["bbox"]
        if len(box) != 4 or not all(isinstance(v, NUMBER) and abs(v) < 1e9 for v in box):
            raise FormatError(f"{where} has bbox {str(box)[:80]}; expected 4 numbers")
        if not math.isfinite(a["area"]):
            raise FormatError(f"{where} has area {a['area']}")
        if a["image_id"] not in known["images"] or a["category_id"] not in known["categories"]:
            raise FormatError(f"{where} names an image or a category that the file does not have")


def read(source, images=None, progress=None):
    """A Collection; images lie in the folder `images`, by default that of the json file. Classes
    are the categories by rising id, as Darknet numbers them."""
    content = load(source)
    folder = Path(images or Path(source).parent)
    categories = sorted(content["categories"], key=lambda category: category["id"])
    label = {category["id"]: k for k, category in enumerate(categories)}
    boxes = defaultdict(list)
    for annotation in content["annotations"]:
        boxes[annotation["image_id"]].append(annotation)
    pictures = []
    for done, entry in enumerate(content["images"], start=1):
        size = entry.get("height"), entry.get("width")
        if not all(isinstance(side, int) and side > 0 for side in size):
            raise FormatError(f"{shown(source)}: image {entry['id']} has no height and width")
        path = folder / entry["file_name"]
        objects = [_object(a, label, *size) for a in boxes[entry["id"]]]
        pictures.append(Picture(str(path), path.name, *size, objects, entry))
        if progress:
            progress(done, len(content["images"]))
    if pictures:
        for picture, name in zip(pictures, names_below([p.path for p in pictures])[1], strict=True):
            picture.name = name
    names = [category["name"] for category in categories]
    return Collection(names, pictures, [category["id"] for category in categories])


def _object(annotation, label, height, width):
    x, y, w, h = annotation["bbox"]
    box = box_of(x, y, x + w, y + h, width, height)
    taken = ("image_id", "category_id", "bbox")
    extra = {key: value for key, value in annotation.items() if key not in taken}
    return Object(label[annotation["category_id"]], box, extra)


def write(collection, out, overwrite=False):
    """One json file; its file names are seen from the folder that holds all images."""
    ids = collection.ids or category_ids(len(collection.names))
    kept = [picture.extra.get("id") for picture in collection.pictures]
    numbers = image_ids([p.path for p in collection.pictures]) if None in kept else kept
    images, annotations = [], []
    for number, picture in zip(numbers, collection.pictures, strict=True):
        entry = {**_coco_fields(picture.extra), "id": number, "file_name": picture.name}
        images.append({**entry, "width": picture.width, "height": picture.height})
        for item in picture.objects:
            annotations.append(_annotation(item, picture, number, ids, collection.notes))
    used = {a["id"] for a in annotations if a["id"] is not None}
    if len(used) < len(annotations):  # some come from elsewhere: all are numbered anew
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
    pairs = zip(ids, collection.names, strict=True)
    categories = [{"id": i, "name": name, "supercategory": ""} for i, name in pairs]
    content = {"images": images, "annotations": annotations, "categories": categories}
    atomic(writable(out, overwrite), json.dumps(content, allow_nan=False) + "\n")
    return out


def _coco_fields(extra):
    return {key: value for key, value in extra.items() if key not in ("folder", "source")}


def _annotation(item, picture, image_id, ids, notes):
    left, top, right, bottom = item.corners(picture.width, picture.height)
    w, h = (round(v, PIXELS) for v in (right - left, bottom - top))
    if "area" not in item.extra:
        notes["areas are those of the boxes: the source has no others"] += 1
    if item.extra.get("difficult"):
        notes["difficult boxes carry difficult=1, which COCO's own program does not read"] += 1
    fields = {"id": None, "area": round(w * h, PIXELS), "iscrowd": 0, **item.extra}
    own = {"image_id": image_id, "category_id": ids[item.label], "bbox": [left, top, w, h]}
    return {**fields, **own}

"""PASCAL VOC's xml files, to and from a Collection.

Corners count from 1, and Darknet's edges are theirs less 1 (as its voc_label.py has it): a box from
xmin to xmax is xmax - xmin wide.
"""

import math
from pathlib import Path
from xml.etree import ElementTree

from ...files import atomic
from .. import image
from ..listing import read_list
from ..lists import read_names
from ..paths import shown
from .collection import (
    PIXELS,
    Collection,
    FormatError,
    Object,
    Picture,
    box_of,
    bring,
    on_one_line,
    writable,
)  # fmt: skip

FILE_LIMIT = 1 << 24  # bytes of one xml file
MARKS = ("pose", "truncated", "occluded")  # passed on from VOC to VOC


def read(source, part=None, names=None, progress=None):
    """The xml files of a folder, or of its Annotations; `part` takes those that
    ImageSets/Main/PART.txt lists. names: a file of class names; else all names by the alphabet."""
    root = Path(source)
    folder = root / "Annotations" if (root / "Annotations").is_dir() else root
    listed = root / "ImageSets" / "Main" / f"{part}.txt"
    if part and listed.exists():
        files = [_listed(folder, entry.text.strip()) for entry in read_list(listed)]
    else:
        files = sorted(folder.glob("*.xml"))
    if not files:
        raise FormatError(f"{shown(folder)}: has no xml file")
    known = read_names(names) if names else None
    parsed = []
    for done, file in enumerate(files, start=1):
        parsed.append(_picture(file, root))
        if progress:
            progress(done, len(files))
    classes = known or sorted({name for _, objects in parsed for name, *_ in objects})
    number = {name: k for k, name in enumerate(classes)}
    found = Collection(classes, [])
    if not known:
        found.notes["classes are numbered by the alphabet; --names sets their order"] += len(
            classes
        )
    for (picture, objects), file in zip(parsed, files, strict=True):
        for name, box, extra in objects:
            if name not in number:
                raise FormatError(f"{shown(file)}: class {name!r} is not in {shown(names)}")
            picture.objects.append(Object(number[name], box, extra))
        found.pictures.append(picture)
    return found


def _listed(folder, text):
    """The xml file of a list's line, which may go on with -1, 0 or 1: whether a class is there."""
    whole = folder / f"{text}.xml"
    return whole if whole.exists() else folder / f"{text.split()[0]}.xml"


def _picture(file, root):
    """(Picture without objects, [(class name, box, extra)])."""
    tree = _parse(file)
    name = tree.findtext("filename") or f"{file.stem}.jpg"
    name = Path(name.strip().replace("\\", "/")).name
    places = [folder / name for folder in (root / "JPEGImages", root, file.parent)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise FormatError(f"{shown(file)}: {shown(name)}: no such image beside it or in JPEGImages")
    height, width = (_number(tree, f"size/{side}", file, 0) for side in ("height", "width"))
    if height < 1 or width < 1:
        height, width = image.read(path).shape[:2]
    objects = [_object(entry, file, height, width) for entry in tree.findall("object")]
    return Picture(str(path), name, int(height), int(width), []), objects


def _parse(file):
    try:
        if file.stat().st_size > FILE_LIMIT:
            raise FormatError(f"{shown(file)}: larger than {FILE_LIMIT} bytes")
        data = file.read_bytes()
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise FormatError(f"{shown(file)}: defines entities, which annotations have no need of")
        return ElementTree.fromstring(data)
    except OSError as error:
        raise FormatError(f"{shown(file)}: {error.strerror or error}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{shown(file)}: {error}") from None


def _object(entry, file, height, width):
    name = (entry.findtext("name") or "").strip()
    if not name:
        raise FormatError(f"{shown(file)}: an object has no name")
    edges = [_number(entry, f"bndbox/{key}", file) for key in ("xmin", "ymin", "xmax", "ymax")]
    box = box_of(*(edge - 1 for edge in edges), width, height)
    extra = {key: entry.findtext(key) for key in MARKS if entry.findtext(key)}
    if _number(entry, "difficult", file, 0):
        extra["difficult"] = 1
    return name, box, extra


def _number(element, path, file, default=None):
    text = element.findtext(path)
    if text is None and default is not None:
        return default
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not abs(value) < 1e9:
        raise FormatError(f"{shown(file)}: {path} is {str(text)[:40]!r}; expected a number")
    return value


def write(collection, out, part="train", link=False, overwrite=False):
    """Annotations, JPEGImages and ImageSets/Main/PART.txt below OUT."""
    out, stems = Path(out), {}
    for picture in collection.pictures:
        picture.name = on_one_line(picture.name.replace("/", "_"), "image")
        stem = Path(picture.name).stem
        if stems.setdefault(stem, picture.path) != picture.path:
            raise FormatError(f"{shown(picture.path)}: VOC has one image of the name {shown(stem)}")
    listed = out / "ImageSets" / "Main" / f"{part}.txt"
    writable(listed, overwrite)
    for folder in (out / "Annotations", out / "JPEGImages", listed.parent):
        folder.mkdir(parents=True, exist_ok=True)
    for stem, picture in zip(stems, collection.pictures, strict=True):
        bring(picture, out / "JPEGImages", link, overwrite)
        tree = _tree(picture, collection)
        ElementTree.indent(tree)
        text = ElementTree.tostring(tree, encoding="unicode")
        atomic(writable(out / "Annotations" / f"{stem}.xml", overwrite), text + "\n")
    atomic(listed, "".join(f"{stem}\n" for stem in stems))
    return out


def _tree(picture, collection):
    tree = ElementTree.Element("annotation")
    _add(tree, "folder", "JPEGImages")
    _add(tree, "filename", picture.name)
    size = ElementTree.SubElement(tree, "size")
    for key, value in (("width", picture.width), ("height", picture.height), ("depth", 3)):
        _add(size, key, value)
    _add(tree, "segmented", 0)
    for item in picture.objects:
        entry = ElementTree.SubElement(tree, "object")
        _add(entry, "name", collection.names[item.label])
        for key in MARKS:
            if key in item.extra:
                _add(entry, key, item.extra[key])
        hard = item.extra.get("difficult") or item.extra.get("iscrowd")
        if item.extra.get("iscrowd"):
            collection.notes["crowd regions became difficult boxes: VOC has no crowds"] += 1
        if "area" in item.extra:
            collection.notes["areas and segments were dropped: VOC has boxes only"] += 1
        _add(entry, "difficult", 1 if hard else 0)
        box = ElementTree.SubElement(entry, "bndbox")
        corners = item.corners(picture.width, picture.height)
        for key, edge in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
            value = round(edge + 1, PIXELS)
            if value != int(value):
                collection.notes["edges lie between pixels and are written with decimals"] += 1
            _add(box, key, f"{value:.{PIXELS}f}".rstrip("0").rstrip("."))
    return tree


def _add(parent, key, value):
    text = str(value)
    if any((c < " " and c not in "\t\n\r") or "\ud800" <= c <= "\udfff" for c in text):
        raise FormatError(f"{key} {shown(text)!r} has characters that xml cannot hold; rename it")
    ElementTree.SubElement(parent, key).text = text

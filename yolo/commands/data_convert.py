"""`data convert`: data sets between Darknet, COCO and VOC."""

import sys
from pathlib import Path

from .console import Console

FORMATS = ("darknet", "coco", "voc")


def add(commands):
    command = commands.add_parser("convert", help="between Darknet labels, COCO json and VOC xml")
    command.add_argument(
        "source", metavar="SOURCE", help=".data file, COCO json, or folder of VOC xml files"
    )
    command.add_argument("out", metavar="OUT", help="folder; of --to coco the json file")
    command.add_argument("--to", choices=FORMATS, required=True, metavar="|".join(FORMATS))
    command.add_argument(
        "--part", default="train", choices=("train", "valid"), help="which list, default train"
    )
    command.add_argument("--images", metavar="DIR", help="of COCO json; default: its own folder")
    command.add_argument("--names", metavar="F", help="class names in order; of VOC")
    command.add_argument("--link", action="store_true", help="link images instead of copying them")
    command.add_argument("--overwrite", action="store_true", help="replace files that exist")
    command.set_defaults(run=run)


def run(args):
    from ..legible import shown

    console = Console(sys.stderr, at_once=False)
    collection = read(args, lambda done, total: console.progress(done, total, "images read"))
    console.clear()
    written = write(args, collection)
    print(
        f"{len(collection.pictures)} images, {collection.boxes} boxes, {len(collection.names)} "
        f"classes: {shown(written)}"
    )
    for sentence, count in collection.notes.items():
        print(f"{count} x {sentence}")


def read(args, progress):
    """The Collection of the source, whose format its name tells."""
    from ..data.formats import FormatError, coco, darknet, voc

    source = Path(args.source)
    if source.is_dir():
        return voc.read(source, args.part, args.names, progress)
    for flag, fits in (("names", False), ("images", source.suffix.lower() == ".json")):
        if getattr(args, flag) and not fits:
            raise FormatError(f"data convert: --{flag} has no meaning for {source.name}")
    if source.suffix.lower() == ".json":
        return coco.read(source, args.images, progress)
    return darknet.read(source, args.part, progress)


def write(args, collection):
    """Writes the Collection; gives what stands for it."""
    from ..data.formats import coco, darknet, voc

    if args.to == "coco":
        return coco.write(collection, args.out, args.overwrite)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    writer = darknet if args.to == "darknet" else voc
    return writer.write(collection, args.out, args.part, args.link, args.overwrite)

"""`classify`: the surest classes of images, or the accuracy on a list of them."""

import json
import sys
import time

from .flags import add_network, add_precision, positive, prepare


def add(commands):
    command = commands.add_parser(
        "classify",
        help="name what images show, or measure a classifier",
        description="With images: their surest classes. Without: top-1 and top-N accuracy on the "
        "valid list of --data.",
    )
    add_network(command)
    add_precision(command)
    command.add_argument("images", metavar="IMAGE", nargs="*")
    command.add_argument("--data", metavar="F", help=".data file: its names, its valid list")
    command.add_argument("--names", metavar="F", help="class names, one a line")
    command.add_argument("--top", type=positive, metavar="N", help="default: top of --data, or 5")
    command.add_argument("--json", metavar="F", help="write the results there")
    command.set_defaults(run=run, command_parser=command)


def run(args):
    if not args.images and not args.data:
        args.command_parser.error("expected images, or --data with a valid list to measure on")
    prepare(args)
    from .. import load
    from ..classify import check_classifier
    from ..files import atomic

    net = load(args.cfg, args.weights, device=args.device, strict=args.strict)
    classes = check_classifier(net)
    names, top = described(args, classes)
    failed, result = name_images(net, args, names, top) if args.images else accuracy(net, args, top)
    if args.json:
        atomic(args.json, json.dumps(result, indent=1) + "\n")
    return 1 if failed else 0


def described(args, classes):
    """(names of the classes, how many of them to show) as flags and files say."""
    from ..data import DataFile, read_names

    data = DataFile.read(args.data) if args.data else None
    names = read_names(args.names) if args.names else data.names() if data else None
    if names is not None and len(names) != classes:
        from ..data import DataError

        source = args.names or args.data
        raise DataError(f"{source}: {len(names)} names, but the network has {classes} classes")
    top = args.top or (data.number("top", 5) if data else 5)
    return names or [f"class {c}" for c in range(classes)], min(top, classes)


def name_images(net, args, names, top):
    """Prints the surest classes of each image; (number of images that failed, JSON)."""
    from ..classify import guesses
    from ..data import ImageError, read

    failed, result = 0, []
    for path in args.images:
        try:
            image = read(path)
        except ImageError as error:
            print(f"error: {error}", file=sys.stderr)
            failed += 1
            continue
        started = time.perf_counter()
        found = guesses(net, image, top, args.precision)
        print(f"{path}: {1e3 * (time.perf_counter() - started):.1f} ms")
        for label, probability in found:
            print(f"{names[label]}: {probability:f}")
        classes = [{"class_id": c, "name": names[c], "probability": p} for c, p in found]
        result.append({"filename": path, "classes": classes})
    return failed, result


def accuracy(net, args, top):
    """Measures on the valid list; (0, JSON)."""
    from ..classify import measure
    from ..job.classifier import open_part

    valid = open_part(net, args.data, "valid")
    result = measure(net, valid, top, precision=args.precision)
    print(result.report(valid.names))
    return 0, result.to_dict(valid.names)

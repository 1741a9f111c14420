"""`data check`: everything that is wrong with a data set, before it costs an hour."""

import json
import sys
from collections import Counter
from pathlib import Path

from ..legible import shown
from .console import Console
from .flags import positive

SHOWN = 20  # findings of a kind that are printed


def add(commands):
    command = commands.add_parser("check", help="say what is wrong with images and labels")
    command.add_argument("data", metavar="FILE.data")
    command.add_argument("--cfg", metavar="CFG", help="network whose size and classes count")
    command.add_argument("--width", type=positive, metavar="W", help="default: of the cfg, or 416")
    command.add_argument("--height", type=positive, metavar="H")
    command.add_argument("--json", action="store_true", help="print JSON, with every finding")
    command.add_argument("--all", action="store_true", help=f"print more than {SHOWN} of a kind")
    command.add_argument("--picture", metavar="F", help="default: NAME-check.png, here")
    command.add_argument("--workers", type=int, metavar="N", help="processes; 0: none")
    command.set_defaults(run=run)


def run(args):
    from .. import figures
    from ..data.inspection import ASPECTS, SIDES, Inspection

    size, classes = network(args)
    inspection = Inspection(args.data, size, classes)
    console, findings, printed = Console(sys.stderr, at_once=False), [], Counter()
    total = len(inspection)
    for finding in inspection.run(
        args.workers, lambda done: console.progress(done, total, f"{inspection.errors} errors")
    ):
        if args.json:
            findings.append(finding)
            continue
        printed[finding.kind] += 1
        if args.all or printed[finding.kind] <= SHOWN:
            console.clear()
            print("error: " if finding.error else "warning: ", finding, sep="")
    console.clear()
    picture = args.picture or f"{Path(args.data).stem}-check.png"
    figures.census(inspection.census, inspection.names, SIDES, ASPECTS, picture)
    if args.json:
        print(json.dumps(as_dict(inspection, findings), indent=1))
    else:
        print_totals(inspection, {} if args.all else printed)
        print(f"picture: {shown(picture)}")
    return 1 if inspection.errors else 0


def network(args):
    """((height, width), classes or None) of the network that the data is for."""
    size, classes = (416, 416), None
    if args.cfg:
        from .. import load
        from ..job import detector_classes

        net = load(args.cfg)
        size, classes = net.input_shape[1:], detector_classes(net)
    return (args.height or size[0], args.width or size[1]), classes


def print_totals(inspection, printed):
    """Counts by list, by class and by kind of finding."""
    for part, census in inspection.census.items():
        print(
            f"{part}: {census.images} images, {census.boxes} boxes; {census.unlabelled} without a "
            f"label file, {census.empty} with an empty one"
        )
    counts = {part: census.to_dict(inspection.names) for part, census in inspection.census.items()}
    names = dict.fromkeys(name for count in counts.values() for name in count["classes"])
    for name in names:
        each = ", ".join(
            f"{part} {count['classes'].get(name, 0)}" for part, count in counts.items()
        )
        print(f"  {shown(name)}: {each}")
    absent = absent_classes(inspection)
    if absent:
        print(f"classes without a box: {', '.join(map(shown, absent))}")
    for (error, kind), count in sorted(inspection.kinds.items(), reverse=True):
        more = (
            f", {count - SHOWN} of them not shown (--all)" if printed.get(kind, 0) > SHOWN else ""
        )
        print(f"{'errors' if error else 'warnings'}: {count} x {kind}{more}")
    if not inspection.kinds:
        print("nothing wrong was found")


def absent_classes(inspection):
    """Names of the classes that no list has a box of."""
    present = set().union(*(census.classes for census in inspection.census.values()))
    names = inspection.names or [str(c) for c in range(inspection.classes or 0)]
    return [name for c, name in enumerate(names) if c not in present]


def as_dict(inspection, findings):
    """Plain Python, fit for json.dump."""
    return {
        "data": inspection.path,
        "size": {"height": inspection.size[0], "width": inspection.size[1]},
        "lists": {
            part: census.to_dict(inspection.names) for part, census in inspection.census.items()
        },
        "classes_without_a_box": absent_classes(inspection),
        "errors": inspection.errors,
        "warnings": sum(inspection.kinds.values()) - inspection.errors,
        "findings": [vars(finding) for finding in findings],
    }

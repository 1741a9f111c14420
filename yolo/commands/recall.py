"""`recall`: how many objects have a box at all, as Darknet counts them."""

import json
import sys

from .flags import add_network, add_precision, positive, prepare


def add(commands):
    command = commands.add_parser("recall", help="share of the objects that have a box at all")
    add_network(command)
    add_precision(command)
    command.add_argument("--data", metavar="F", required=True, help=".data file")
    command.add_argument("--json", metavar="F", help="write the numbers there")
    command.add_argument("--each", action="store_true", help="Darknet's line for each image")
    command.add_argument(
        "--proposals", type=positive, default=20, metavar="N", help="P-Net: boxes an image"
    )
    command.add_argument(
        "--above", type=positive, default=40, metavar="PX", help="P-Net: of faces larger than this"
    )
    command.set_defaults(run=run)


def run(args):
    prepare(args)
    from .. import load
    from ..faces.cascade import is_proposal_stage

    net = load(args.cfg, args.weights, device=args.device, strict=args.strict)
    result = of_faces(net, args) if is_proposal_stage(net) else of_objects(net, args)
    if args.json:
        from ..files import atomic

        atomic(args.json, json.dumps(result.to_dict(), indent=1) + "\n")


def of_faces(net, args):
    """Of P-Net: the faces that its surest proposals find."""
    from ..data.faces import open_faces
    from ..faces.measure import recall
    from .console import Console

    pictures, console = open_faces(args.data, "valid"), Console(sys.stderr, at_once=False)

    def progress(result):
        console.progress(result.images, len(pictures), "")

    found = recall(net, pictures, args.precision, args.proposals, args.above, progress)
    console.clear()
    print(found.report().strip())
    return found


def of_objects(net, args):
    """Of a detector, as Darknet counts."""
    from ..evaluate.recall import recall
    from ..job import detector_classes, open_part
    from .console import Console

    valid = open_part(args.data, "valid", detector_classes(net))
    console = Console(sys.stderr, at_once=False)

    def progress(result):
        console.progress(result.images, len(valid), "")
        if args.each:
            console.say(result.line())

    result = recall(net, valid, precision=args.precision, progress=progress)
    console.clear()
    print(
        f"{result.images} images: {result.found} of {result.truths} objects found, recall "
        f"{100 * result.recall:.2f} %, average IoU {100 * result.average_iou:.2f} %, "
        f"{result.proposals / max(1, result.images):.2f} boxes an image"
    )
    return result

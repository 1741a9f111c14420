"""`serve`: detections over HTTP, and a page to try it in a browser."""

import argparse

from ..serve.limits import Limits
from .flags import add_network, add_precision, name_classes, positive, prepare, share


def seconds(text):
    """A number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text}")
    return value


def port(text):
    """A number that a port can have; 0 stands for any free one."""
    value = int(text)
    if not 0 <= value < 1 << 16:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text}")
    return value


def add(commands):
    command = commands.add_parser("serve", help="find objects for others, over HTTP")
    add_network(command)
    add_precision(command)
    command.add_argument("--host", default="127.0.0.1", help="default: this machine alone")
    command.add_argument("--port", type=port, default=8000, metavar="N", help="0: any free one")
    command.add_argument("--names", metavar="F", help="class names, one a line")
    command.add_argument("--thresh", type=share, default=0.25, help="where a request names none")
    command.add_argument("--nms", type=share, default=0.45, help="where a request names none")
    command.add_argument("--letterbox", action="store_true", help="keep the aspect ratio")
    command.add_argument(
        "--batch", type=positive, default=1, metavar="N", help="waiting images looked at at once"
    )
    limits = command.add_argument_group("limits")
    for flag, kind, default, text in (
        ("--queue", positive, Limits.waiting, "requests that wait; more get 503"),
        ("--max-bytes", positive, Limits.body, "of an upload; more get 413"),
        ("--max-pixels", positive, Limits.pixels, "of an image; more get 413"),
        ("--upload-timeout", seconds, Limits.upload_seconds, "seconds for an upload; later 408"),
        ("--timeout", seconds, Limits.seconds, "seconds from the upload to the answer; later 504"),
        ("--connections", positive, Limits.connections, "at a time; more get 503"),
    ):
        limits.add_argument(flag, type=kind, default=default, metavar="N", help=text)
    command.set_defaults(run=run)


def run(args):
    prepare(args)
    from .. import load
    from ..serve import serve

    net = load(args.cfg, args.weights, device=args.device, strict=args.strict)
    if args.names:
        name_classes(net, args.names)
    return serve(net, args)

"""Flags that several commands share, and the checks of their values."""

import argparse


def positive(text):
    """An integer of at least 1."""
    return at_least(1, text)


def natural(text):
    """An integer of at least 0."""
    return at_least(0, text)


def at_least(least, text):
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"expected an integer of at least {least}, got {text}")
    return value


def share(text):
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text}")
    return value


def name_classes(net, path):
    """Gives the network the names of a file, one a line; more than there are classes do no harm."""
    from ..data import DataError, read_names

    names = read_names(path)
    classes = max(getattr(net.layers[head], "classes", 0) for head in net.heads)
    if len(names) < classes:
        raise DataError(f"{path}: {len(names)} names, but the network has {classes} classes")
    net.names = names


UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


def size(text):
    """A number of bytes: 8G -> 8 * 2**30"""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not number.isdecimal() or unit not in ("", *UNITS) or int(number) < 1:
        raise argparse.ArgumentTypeError(f"expected bytes such as 500M or 8G, got {text}")
    return int(number) << UNITS.get(unit, 0)


def ranges(text):
    """0,3-5 -> [0, 3, 4, 5]"""
    numbers = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        numbers += range(int(first), int(last if dash else first) + 1)
    if not numbers:
        raise argparse.ArgumentTypeError(f"expected numbers such as 0,3-5, got {text}")
    return numbers


# Every word of yolo.ops.precision.WORDS, which loading PyTorch just for --help would cost.
PRECISIONS = ("fast", "exact", "fp32", "tf32", "bf16", "fp16")


def add_precision(command):
    """--precision, whose words depend on the device; prepare() checks that they fit."""
    command.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="CPU: fast (3x3 convolutions by Winograd, errors of 4e-6 instead of 1e-6), exact, "
        "or bf16 (not in training; needs AVX512-BF16); CUDA: fp32 (never TF32), tf32, bf16 or "
        "fp16. Default: fast, fp32",
    )


def add_network(command, weights=True):
    """Arguments that commands which run a network share."""
    command.add_argument("cfg", metavar="CFG", help="network description")
    if weights:
        command.add_argument("weights", metavar="WEIGHTS", help="weight file")
    command.add_argument(
        "--strict", action="store_true", help="unknown cfg keys and missing layers are errors"
    )
    command.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    command.add_argument("--threads", type=positive, help="CPU threads of the kernels")


def add_rank_timeout(command):
    """--rank-timeout, of commands that several processes may run together."""
    command.add_argument(
        "--rank-timeout",
        type=seconds,
        default=600.0,
        metavar="S",
        help="under torchrun: end when another process has not answered for S seconds (600)",
    )


def seconds(text):
    """A time above 0."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def prepare(args, training=False):
    """Applies --threads, checks --device, and fills in or checks --precision."""
    import torch

    from .. import ranks

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise OSError("--device cuda: this machine, or this build of torch, has no CUDA device")
    if args.device == "cuda":
        torch.cuda.set_device(ranks.local())
    if hasattr(args, "precision"):
        from ..ops import precision_for

        args.precision = precision_for(args.device, args.precision, training)

"""Flags that several commands share, and the checks of their values."""

import argparse


def positive(text):
    """An integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text}")
    return value


def share(text):
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text}")
    return value


def add_network(command, weights=True):
    """Arguments that commands which run a network share."""
    command.add_argument("cfg", metavar="CFG", help="network description")
    if weights:
        command.add_argument("weights", metavar="WEIGHTS", help="weight file")
    command.add_argument("--strict", action="store_true", help="unknown cfg keys are errors")
    command.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    command.add_argument("--threads", type=positive, help="CPU threads of the kernels")


def prepare(args):
    """Applies --threads and checks --device."""
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise OSError("--device cuda: this machine, or this build of torch, has no CUDA device")

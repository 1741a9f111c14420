"""Command line: `python -m yolo COMMAND ...`. One file a command in `commands/`.

Exit codes: 0 done, 1 bad input or failure (one line on stderr), 2 wrong usage, 130 interrupted.
"""

import argparse
import os
import sys
import warnings

from .commands import COMMANDS
from .errors import YoloError
from .legible import legible

# Threads of OpenMP (PyTorch's own operators) that wait by spinning take the cores from our kernels
# and from the loader. It is read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(argv=None):
    """Runs one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):  # names of files need not be text
        stream.reconfigure(errors="backslashreplace")
    argv = sys.argv[1:] if argv is None else argv
    args = parser().parse_args(argv)
    args.argv = argv
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            return args.run(args) or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (YoloError, OSError) as error:
        rank = int(os.environ.get("RANK", 0))
        if not (rank and getattr(error, "on_every_rank", False)):
            where = f"rank {rank}: " if rank else ""
            print(f"error: {where}{legible(told(error))}", file=sys.stderr)
        return 1


def told(error):
    """The error in a sentence; the system's own as `FILE: REASON`, as ours are."""
    if isinstance(error, YoloError) or error.strerror is None or error.filename is None:
        return str(error)
    return f"{os.fsdecode(error.filename) or repr('')}: {error.strerror}"


def show_warning(message, category, *_):
    """What is said about a user's files, in one line; other packages' notes are not for users."""
    if category.__module__.startswith("yolo."):
        print(f"warning: {legible(str(message))}", file=sys.stderr)


def parser():
    """All commands and their flags."""
    top = argparse.ArgumentParser(prog="python -m yolo", description=__doc__.split("\n")[0])
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return top


if __name__ == "__main__":
    sys.exit(main())

"""Command lines of the documents: `python -m yolo ...` runs in this process, others in a shell."""

import glob
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from tests.docs.blocks import ROOT
from yolo.__main__ import main, parser

OURS = "python -m yolo "
SHELL = re.compile(r"[|<>;&$`]")  # what only a shell understands
QUICK = {  # flags behind those of the document; the last of two counts
    "train": ("--iterations", "2", "--workers", "0"),
    "data check": ("--workers", "0"),
}


def lines(text):
    """The commands of a block: continued lines joined, comments and empty lines left out."""
    joined = re.sub(r"\\\n\s*", " ", text)
    stripped = (line.strip() for line in joined.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def ours(line):
    """The arguments of a command of this package, patterns filled in; None for other commands."""
    words = shlex.split(line, comments=True)
    if words[:3] != ["python", "-m", "yolo"] or SHELL.search(" ".join(words)):
        return None
    quoted = re.findall(r"'([^']*)'|\"([^\"]*)\"", line)
    literal = {a or b for a, b in quoted}
    found = []
    for word in words[3:]:
        fits = sorted(glob.glob(word)) if "*" in word and word not in literal else []
        found += fits or [word]
    return found


def run(line, capture):
    """Runs one command; (exit code, what it printed). Trainings end after two iterations."""
    arguments = ours(line)
    if arguments is None:
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, env=_environment(), timeout=60
        )
        return done.returncode, done.stdout + done.stderr
    for command, flags in QUICK.items():
        if " ".join(arguments).startswith(command):
            arguments += flags
    capture.readouterr()
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    printed = capture.readouterr()
    return code, printed.out + printed.err


def _environment():
    """`python` is the one that runs the tests, and finds the package."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}


def check(line):
    """What is wrong with a command that is not run, or None."""
    words = shlex.split(line, comments=True)
    if words[:3] == ["python", "-m", "yolo"]:
        return _parses(words[3:])
    if words[0] == "torchrun":
        return _parses(words[words.index("yolo") + 1 :])
    if words[0] == "make":
        targets = re.findall(r"(?m)^([\w-]+):", (ROOT / "Makefile").read_text())
        missing = [w for w in words[1:] if "=" not in w and w not in targets]
        return f"the Makefile has no target {missing[0]}" if missing else None
    if words[:2] == ["pip", "install"] or words[:4] == ["python", "-m", "pip", "install"]:
        return _extras(line)
    if words[0] == "python" and words[1].endswith(".py"):
        return _script(words[1], words[2:])
    return None


def _parses(words):
    try:
        with redirect_stdout(StringIO()):  # of --help
            parser().parse_args(words)
    except SystemExit as stop:
        return "the command line does not parse" if stop.code else None
    return _missing(words)


def _missing(words):
    """A file of this repository that is named and not there."""
    named = [w for w in words if re.match(r"(cfg|docs|benchmarks|tests|yolo|csrc)/", w)]
    gone = [w for w in named if not (ROOT / w).exists() and "*" not in w]
    return f"{gone[0]} does not exist" if gone else None


def _extras(line):
    text = (ROOT / "pyproject.toml").read_text()
    asked = [name for found in re.findall(r"\[([\w,-]+)\]", line) for name in found.split(",")]
    missing = [name for name in asked if not re.search(rf"(?m)^{name} = \[", text)]
    return f"pyproject.toml has no extra {missing[0]}" if missing else None


def _script(path, words):
    if missing := _missing([path, *words]):
        return missing
    if not (ROOT / path).exists():
        return None  # the reader's own
    text = (ROOT / path).read_text()
    flags = [w.split("=")[0] for w in words if w.startswith("--")]
    unknown = [flag for flag in flags if f'"{flag}"' not in text]
    return f"{path} has no flag {unknown[0]}" if unknown else None

"""The rules of the house: imports run downwards, and some calls are banned."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "yolo"
ROWS = (
    ("errors", "legible", "_C", "cfg", "boxes", "schedule", "files", "options", "face_kinds"),
    ("ops", "detections", "drawing", "data", "saving", "convert", "ranks"),
    ("layers", "loss", "optimizer"),
    ("network", "stretches", "gathering"),
    ("weights", "checkpoint", "plot", "figures", "summary"),
    (
        "inference",
        "predict",
        "evaluate",
        "classify",
        "plan",
        "gradcheck",
        "trace",
        "inspection",
        "view",
    ),
    ("faces",),
    ("train", "export", "job", "benchmark", "serve", "engines"),
    ("commands",),
    ("__main__", "__init__"),
)
ROW = {name: row for row, names in enumerate(ROWS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def parsed(path):
    return ast.parse(path.read_text())


def room(path):
    """The room of a file: its folder inside the package, or its own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    """Rooms of this package that a file imports when it is loaded (imports inside functions
    are lazy and may point anywhere)."""
    depth = len(path.relative_to(PACKAGE).parts)
    for node in parsed(path).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            inside = node.level < depth  # a sibling in the same room
            module = (node.module or "").split(".")[0]
            if not inside:
                yield from [module] if module else [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "yolo":
            inner = node.module.split(".")[1:2]
            yield from inner or [alias.name for alias in node.names]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    own = ROW[room(path)]
    for name in imported_rooms(path):
        if name == room(path):
            continue
        assert name in ROW, f"{path} imports {name}, which has no row"
        assert ROW[name] <= own, f"{path} (row {own + 1}) imports {name} (row {ROW[name] + 1})"


def test_only_ops_touches_the_extension():
    users = [p for p in FILES if "_C" in set(imported_rooms(p))]
    assert {room(p) for p in users} <= {"ops", "plan"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_call_that_runs_foreign_code(path):
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            assert not {"pickle", "marshal", "shelve", "dill"} & set(names), path
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "os.system", "torch.load"), (path, node.lineno)
            shell = [k for k in node.keywords if k.arg == "shell"]
            assert not shell, (path, node.lineno)


def test_the_command_line_is_there_before_pytorch():
    """Loading it takes a second, for which --help need not wait and in which Ctrl-C is pressed."""
    program = (
        "import sys, yolo.__main__ as m; m.parser(); "
        "print({'torch', 'numpy', 'cv2', 'matplotlib', 'scipy'} & set(sys.modules) or 'none')"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "none\n"

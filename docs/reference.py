"""Writes the reference part of api.md from the source:  python docs/reference.py"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"
PART = re.compile(r"(<!-- reference -->\n).*(<!-- /reference -->)", re.DOTALL)

# Heading -> (file, what it takes: names, a class, or None for all that is public)
PARTS = {
    "yolo": ("__init__.py", ["load"]),
    "Network: a network": ("network.py", "Network"),
    "Network.predict: its settings": ("predict.py", ["predict"]),
    "Detections: what was found in one image": ("detections.py", "Detections"),
    "Detection: one entry of it": ("detections.py", "Detection"),
    "yolo.convert: Detections in other forms": ("convert.py", None),
    "yolo.boxes: tensors of boxes": ("boxes.py", None),
    "yolo.weights: files of trained values": ("weights/__init__.py", None),
    "yolo.export: files for other programs": ("export/__init__.py", ["to_onnx"]),
    "yolo.evaluate: measuring": ("evaluate/__init__.py", ["evaluate"]),
    "yolo.ops.backend: whose kernels": ("ops/backend.py", ["backend", "current_backend"]),
    "yolo.errors: what bad input raises": ("errors.py", None),
}
ROOMS = ("data", "ops", "train", "evaluate", "weights")  # of which the names alone are listed
SPECIAL = ("__len__", "__getitem__", "__iter__")
INNER = ("extra_repr",)  # PyTorch's, not for callers


def reference():
    """The text between the markers."""
    lines = []
    for heading, (file, what) in PARTS.items():
        tree = ast.parse((ROOT / "yolo" / file).read_text())
        lines += [f"### {heading}", ""]
        if isinstance(what, str):
            tree = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == what)
            lines += _fields(tree)
        for node in tree.body:
            chosen = not isinstance(what, list) or node.name in what if _shown(node) else False
            if chosen:
                lines += _entry(node)
        lines.append("")
    lines += ["### The other rooms", "", "Their docstrings say what each name is for.", ""]
    for room in ROOMS:
        tree = ast.parse((ROOT / "yolo" / room / "__init__.py").read_text())
        names = ", ".join(f"`{name}`" for name in _all(tree))
        lines.append(f"- `yolo.{room}`: {ast.get_docstring(tree).splitlines()[0]}<br>{names}")
    lines.append("")
    return "\n".join(lines)


def _all(tree):
    """The names in __all__."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def _shown(node):
    """Functions and classes that are public, and no declarations for type checkers."""
    if isinstance(node, ast.ClassDef):
        return not node.name.startswith("_")
    if not isinstance(node, ast.FunctionDef):
        return False
    marks = [ast.unparse(mark) for mark in node.decorator_list]
    public = node.name in SPECIAL or (not node.name.startswith("_") and node.name not in INNER)
    return public and not any(m == "overload" or m.endswith(".setter") for m in marks)


def _fields(tree):
    """The attributes that a class declares, with their types."""
    found = [n for n in tree.body if isinstance(n, ast.AnnAssign) and n.target.id[0] != "_"]
    if not found:
        return []
    words = ", ".join(f"`{n.target.id}: {ast.unparse(n.annotation)}`" for n in found)
    return [f"Attributes: {words}", ""]


def _entry(node):
    """`name(arguments) -> result`, and the first paragraph of what the source says about it."""
    text = (ast.get_docstring(node) or "").strip()
    said = " ".join(text.split("\n\n")[0].split())
    if isinstance(node, ast.ClassDef):
        call = node.name
    else:
        node.args.args = [a for a in node.args.args if a.arg not in ("self", "cls")]
        result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        property = any(ast.unparse(mark) == "property" for mark in node.decorator_list)
        arguments = re.sub(r"(: [^=,]+)=", r"\1 = ", ast.unparse(node.args))
        call = node.name + ("" if property else f"({arguments})") + result
    return [f"- `{call}`" + (f"<br>{said}" if said else "")]


def page():
    """api.md as it should be."""
    return PART.sub(lambda found: f"{found[1]}{reference()}{found[2]}", PAGE.read_text())


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.exit(0)

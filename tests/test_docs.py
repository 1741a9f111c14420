"""The documents tell the truth: every Python block runs, in order, one namespace a document;
every `path: name` they point to exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

DOCUMENTS = sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLACE = re.compile(r"`((?:yolo|csrc|cfg|docs|benchmarks|tests)/[\w./-]+): ([\w.]+)`")
EXCERPT = re.compile(r"^`([\w./-]+)`:\n\n```(?:cpp|cuda)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WITH_CODE = [d for d in DOCUMENTS if BLOCK.search(d.read_text())]


@pytest.mark.parametrize("path", WITH_CODE, ids=lambda p: str(p.relative_to(ROOT / "docs")))
def test_blocks_run(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    text, names = path.read_text(), {"__name__": path.stem}
    for block in BLOCK.finditer(text):
        line = text[: block.start(1)].count("\n")
        code = compile("\n" * line + block[1], str(path), "exec")  # errors show the document's line
        exec(code, names)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT / "docs")))
def test_named_places_exist(path):
    for file, name in PLACE.findall(path.read_text()):
        source = ROOT / file
        assert source.is_file(), f"{path.name} names {file}"
        last = name.split(".")[-1]
        assert re.search(rf"\b{last}\b", source.read_text()), f"{path.name}: no {name} in {file}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT / "docs")))
def test_excerpts_are_the_source(path):
    for file, code in EXCERPT.findall(path.read_text()):
        assert code in (ROOT / file).read_text(), (
            f"{path.name}: an excerpt of {file} is out of date"
        )


def test_links_lead_somewhere():
    for path in [ROOT / "README.md", *DOCUMENTS]:
        for link in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{path.name} points to {link}"

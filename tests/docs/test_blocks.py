"""Every fenced block of README.md and docs/ is run, in order, or says why not (see blocks.py)."""

import re

import pytest

from tests.docs import shell
from tests.docs.blocks import DOCUMENTS, FENCE, ROOT, blocks, escaped

NUMBER = re.compile(r"\d[\d.,:e+-]*|nan|-(?=\s|$)")


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_nothing_escapes(path):
    faults = escaped(path) + [f"{b.place}: {b.fault()}" for b in blocks(path) if b.fault()]
    assert not faults, "\n".join([f"{name(path)}:", *faults])


def test_the_marks_are_told_apart(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\n1\n```\n<!-- not run: a GPU -->\n```bash\nx\n```\n"
        "<!-- output -->\n```text\ny\n```\n```text\nz\n```\n<!-- later -->\n```bash\nx\n```\n"
        "<!-- not run -->\n```bash\nx\n```\n"
    )
    found = blocks(page)
    assert [b.line for b in found] == [2, 6, 10, 13, 17, 21]
    assert [bool(b.fault()) for b in found] == [False, False, False, True, True, True]
    page.write_text("Text\n\n    indented = 1\n\n- a list\n\n  ```bash\n  x\n  ```\n\n```bash\n")
    assert len(blocks(page)) == 1 and len(escaped(page)) == 2


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_blocks_run(path, folder, capsys):
    play(path, capsys, every=False)


@pytest.mark.long
@pytest.mark.parametrize(
    "path", [d for d in DOCUMENTS if any(b.word == "long" for b in blocks(d))], ids=name
)
def test_long_blocks_run(path, folder, capsys):
    play(path, capsys, every=True)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_commands_in_the_text_parse(path):
    """`python -m yolo ...` between single backticks."""
    words = {"COMMAND": "train", "CFG": "a.cfg", "WEIGHTS": "a.weights"}
    for line in re.findall(r"`(python -m yolo [^`]+)`", FENCE.sub("", path.read_text())):
        for placeholder, word in words.items():
            line = line.replace(placeholder, word)
        if len(line.split()) == 4:
            line += " --help"  # the command alone is spoken of
        assert shell.check(line) is None, f"{name(path)}: {line}: {shell.check(line)}"


def play(path, capsys, every):
    """Runs a document from top to bottom."""
    names, printed = {"__name__": path.stem}, ""
    for block in blocks(path):
        if block.word == "file":
            (target := folder_file(block.rest)).parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text)
        elif block.word == "output":
            compare(block, printed)
        elif block.word == "not run" or (block.word == "long" and not every):
            check(block)
            printed = None
        elif block.language == "python":
            capsys.readouterr()
            # errors show the document's line
            exec(compile("\n" * (block.line - 1) + block.text, str(path), "exec"), names)
            printed = capsys.readouterr().out
        elif block.language == "bash":
            printed = commands(block, capsys)


def folder_file(written):
    """The path of a file in the working directory, and nowhere else."""
    from pathlib import Path

    path = Path(written)
    assert not path.is_absolute() and ".." not in path.parts, written
    return path


def commands(block, capsys):
    """Runs a block's lines; what they printed. A comment may announce another exit code than 0."""
    printed = ""
    for line in shell.lines(block.text):
        code, text = shell.run(line, capsys)
        announced = re.search(r"#.*exit code (\d+)", line)
        expected = int(announced[1]) if announced else 0
        assert code == expected, f"{block.place}: {line}\nexit code {code}\n{text}"
        printed += text
    return printed


def check(block):
    """Of a block that is not run: commands and flags exist; Python compiles."""
    if block.language == "python":
        compile(block.text, block.place, "exec")
    elif block.language == "bash":
        faults = [
            f"{line}: {fault}" for line in shell.lines(block.text) if (fault := shell.check(line))
        ]
        assert not faults, "\n".join([block.place, *faults])


def compare(block, printed):
    """Each line shown was printed, numbers and the width of columns aside; ... stands for more."""
    if printed is None:
        return  # what printed it is not run
    have = {squeezed(line) for line in printed.splitlines()}
    missing = [
        line
        for line in block.text.splitlines()
        if line.strip() not in ("", "...") and squeezed(line) not in have
    ]
    assert not missing, f"{block.place}: not printed: {missing[0]!r}; printed:\n{printed}"


def squeezed(line):
    return " ".join(NUMBER.sub("0", line).split())

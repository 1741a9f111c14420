"""The fenced blocks of a document, and what is to become of each.

A block is run, or a comment on the line above it says why it is not:

    ```python              runs, in order, in one namespace a document
    ```bash                runs, line by line, in the document's folder of tiny files
    ```cpp, ```cuda        an excerpt, its file named above it
    ```math                an equation
    <!-- file: NAME -->    the block becomes that file, for the commands below it
    <!-- output -->        printed by the commands of the block above; numbers may differ
    <!-- long: REASON -->  run by the long tests; every day the command lines are only checked
    <!-- not run: REASON -->
                           the command lines are checked: commands, flags, files that they name
"""

import re
from dataclasses import dataclass
from pathlib import Path

import markdown

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(
    r"^(?:[ ]*<!-- (?P<word>[a-z ]+)(?:: (?P<rest>.+?))? -->\n)?"
    r"(?P<indent>[ ]*)```(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
RUN = ("python", "bash")
CHECKED_ELSEWHERE = ("cpp", "cuda", "math")  # excerpts are compared, equations are built
NEEDS = {"file": "NAME", "long": "REASON", "not run": "REASON"}  # what stands behind the colon


@dataclass
class Block:
    """One fenced block. line: of its first line of text, from 1."""

    path: Path
    line: int
    language: str
    text: str
    word: str | None  # of the comment above it
    rest: str | None

    @property
    def place(self):
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    def fault(self):
        """What is wrong with the block's comment, or None."""
        if self.word is None:
            if self.language in (*RUN, *CHECKED_ELSEWHERE):
                return None
            return (
                f"a block of {self.language or 'no language'!r} is not run. Put one of these on "
                "the line above it: <!-- file: NAME -->, <!-- output -->, <!-- not run: REASON -->"
            )
        if self.word not in (*NEEDS, "output"):
            return f"<!-- {self.word} --> is none of file, output, long, not run"
        if self.word in NEEDS and not self.rest:
            return f"<!-- {self.word}: {NEEDS[self.word]} --> lacks its {NEEDS[self.word]}"
        if self.word == "long" and self.language not in RUN:
            return f"<!-- long --> is for {' and '.join(RUN)}, this is {self.language!r}"
        return None


def blocks(path):
    """Every fenced block of a document, in order."""
    text = path.read_text()
    found = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        found.append(
            Block(path, line, match["language"], match["text"], match["word"], match["rest"])
        )
    return found


def escaped(path):
    """What looks like code and is no block: fences that end nowhere, indented blocks."""
    text = path.read_text()
    rest = FENCE.sub("", text)
    faults = [f"```{line}: a fence without its other end" for line in re.findall("```(.*)", rest)]
    pages = re.findall(r"<pre><code>(.*)", markdown.markdown(rest, extensions=["tables"]))
    hint = "indented by four blanks: write it as a fenced block"
    return faults + [f"{line!r} is {hint}" for line in pages]

"""Names that are hard to print: those of files and classes may hold anything."""

import os


def shown(path):
    """A path fit for a message: control characters and undecodable bytes are escaped."""
    text = os.fspath(path)
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def legible(text):
    """Text of several lines fit for a terminal: other control characters are escaped."""
    return "\n".join("\t".join(map(shown, line.split("\t"))) for line in text.split("\n"))

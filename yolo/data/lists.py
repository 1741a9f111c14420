"""Darknet's small text files: `.data` (key = value), names of classes."""

import os
import re
from dataclasses import dataclass, field

from ..errors import YoloError
from .paths import around, resolve, shown


class DataError(YoloError, ValueError):
    """A data file that cannot be used; the message begins with the file, and its line if known."""


def lines(path):
    """The lines of a text file without their ends (LF, CR LF or CR). Bytes that are not UTF-8
    survive, so that file names with them can be opened."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{shown(path)}: {reason}") from None
    if "\0" in text:
        raise DataError(f"{shown(path)}: holds zero bytes; expected a text file")
    found = text.removeprefix("\ufeff").split("\n")
    return found if found[-1] else found[:-1]


def read_names(path):
    """Names of the classes, one a line, verbatim; an empty line is a name, as in Darknet."""
    return lines(path)


@dataclass
class DataFile:
    """A `.data` file. `values` maps each key to (value, line); the first of equal keys counts.

    Blanks inside values are kept. Where no such file exists, the value without any blank is
    tried: Darknet removes them all.
    """

    path: str
    values: dict = field(default_factory=dict)

    @classmethod
    def read(cls, path):
        """Parses the file; a line that is neither `key = value` nor a comment is an error."""
        data = cls(os.fspath(path))
        for number, line in enumerate(lines(path), start=1):
            text = line.strip()
            if not text or text[0] in "#;":
                continue
            key, separator, value = _split(text)
            if not separator or not key:
                raise DataError(
                    f"{shown(path)}:{number}: expected key = value, got {shown(text[:80])}"
                )
            data.values.setdefault(key, (value, number))
        return data

    def get(self, key, default=None):
        """The value of a key; empty values count as absent."""
        return self.values.get(key, ("", 0))[0] or default

    def error(self, key, message):
        """A DataError that points at a key's line, or at the file."""
        line = f":{self.values[key][1]}" if key in self.values else ""
        return DataError(f"{shown(self.path)}{line}: {message}")

    @property
    def classes(self):
        """Number of classes, or None where the file does not say."""
        return self.number("classes")

    def number(self, key, default=None, digits=7):
        """The whole number from 1, of up to so many digits, that a key has."""
        value = self.get(key)
        if value is None:
            return default
        if not re.fullmatch(rf"[1-9]\d{{0,{digits - 1}}}", value):
            raise self.error(key, f"{key} = {shown(value)}; expected a number from 1")
        return int(value)

    def file(self, key):
        """The path of the existing file that `key` names, seen from the .data file's folder,
        then from the working directory."""
        value = self.get(key)
        if value is None:
            raise self.error(key, f"has no value for '{key}'")
        folders = around(self.path)
        found = resolve(value, folders) or resolve(re.sub(r"\s", "", value), folders)
        if found is None:
            looked = ", ".join(shown(folder) for folder in folders)
            raise self.error(key, f"{key} = {shown(value)}: no such file; looked from {looked}")
        return found

    def names(self):
        """Names of the classes, or None where the file names no list of them."""
        key = next((key for key in ("names", "labels") if self.get(key)), None)
        return None if key is None else read_names(self.file(key))


def _split(text):
    """(key, separator, value); `key: value` is what hank-ai's Darknet also reads."""
    found = re.match(r"([^=:]*)([=:])(.*)", text)
    if not found:
        return text, "", ""
    key, separator, value = found.groups()
    return re.sub(r"\s", "", key), separator, value.strip()

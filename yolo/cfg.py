"""Darknet .cfg text -> [Section]. Knows lines, keys and numbers, not what they mean.

[name]        opens a section; text after `]` must be a comment
key=value     an option of that section; the first of two equal keys counts, as in Darknet
# or ;        begins a comment line; `#` also ends a value
"""

import difflib
import math
import re
import warnings
from pathlib import Path

from .errors import YoloError

# Published files stay below 60 kB and 400 sections; the limits bound time and memory.
MAX_BYTES = 1 << 19
MAX_SECTIONS = 1500
MAX_WARNINGS = 40
LARGEST_INT = 2**31 - 1

REQUIRED = object()  # as a getter's default: the key must be there

_INT = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BLANKS = re.compile(r"[ \t\r\n]+")


class CfgError(YoloError, ValueError):
    """A network description that cannot be used; the text begins with file:line."""


class CfgWarning(UserWarning):
    """Something in a network description that has no effect, or hardly the one intended."""


class Source:
    """The file that sections come from: its name, and what happens to warnings about it."""

    def __init__(self, path, strict=False):
        self.path = str(path)
        self.strict = strict
        self.warned = 0

    def error(self, line, message, section=None):
        """CfgError with its place."""
        return CfgError(self._place(line, message, section))

    def warn(self, line, message, section=None):
        """Warns with the place, or raises where warnings are errors."""
        if self.strict:
            raise self.error(line, message, section)
        self.warned += 1
        if self.warned <= MAX_WARNINGS:
            warnings.warn(self._place(line, message, section), CfgWarning, stacklevel=4)
        elif self.warned == MAX_WARNINGS + 1:
            warnings.warn(f"{self.path}: more warnings are left out", CfgWarning, stacklevel=4)

    def _place(self, line, message, section):
        return f"{self.path}:{line}: " + (f"[{section}] " if section else "") + message


class Section:
    """One section: typed getters that remember which keys were asked for."""

    def __init__(self, name, line, source):
        self.name = name
        self.line = line
        self.source = source
        self.values = {}  # key -> what it means, the default where the file does not set it
        self.notes = {}  # key -> why it is not what Darknet makes of it
        self._options = {}  # key -> (value, line)
        self._asked = {}  # key -> None, in order of asking
        self._set = set()  # keys that are not the file's own

    def __repr__(self):
        return f"<[{self.name}] {self.path}:{self.line}>"

    @property
    def path(self):
        """File that the section was read from."""
        return self.source.path

    def add(self, key, value, line):
        """Stores an option; the first of two equal keys stays."""
        if key in self._options:
            first = self._options[key][1]
            message = f"{shown(key)} is set again; line {first} counts"
            self.source.warn(line, message, self.name)
        else:
            self._options[key] = (value, line)

    def set(self, key, value):
        """Replaces or adds an option, as if the file held it; here an unknown key is an error."""
        self._set.add(key)
        line = self._options.get(key, (None, self.line))[1]
        self._options[key] = (str(value), line)

    def items(self):
        """(key, value) of every option, in file order."""
        return [(key, value) for key, (value, _) in self._options.items()]

    def has(self, key):
        """Whether the file sets the key."""
        self._asked[key] = None
        return key in self._options

    def ignore(self, *keys):
        """Keys that are known and knowingly unused."""
        self._asked.update(dict.fromkeys(keys))
        self.notes.update(dict.fromkeys(keys, "no effect"))

    def known(self):
        """Every key that was asked for."""
        return list(self._asked)

    def line_of(self, key):
        """Line of the file that sets the key, or that of the section."""
        return self._options[key][1] if key in self._options else self.line

    def error(self, message, key=None):
        """CfgError at the key's line, or at the section's."""
        return self.source.error(self.line_of(key), message, self.name)

    def warn(self, message, key=None):
        """A warning at the key's line, or at the section's; an error when reading strictly."""
        self.source.warn(self.line_of(key), message, self.name)

    def _value(self, key, default):
        """The text of a key, or None where the default counts."""
        if self.has(key):
            return self._options[key][0]
        if default is REQUIRED:
            raise self.error(f"needs the key {key!r}")
        return None

    def int(self, key, default=REQUIRED, minimum=-LARGEST_INT, maximum=LARGEST_INT):
        """Whole number at the start of the value."""
        text = self._value(key, default)
        value = default if text is None else self._int(key, text, minimum, maximum)
        return self._keep(key, value)

    def float(self, key, default=REQUIRED, minimum=-math.inf, maximum=math.inf):
        """Finite number at the start of the value."""
        text = self._value(key, default)
        value = default if text is None else self._float(key, text, minimum, maximum)
        return self._keep(key, value)

    def bool(self, key, default=REQUIRED):
        """A whole number, other than 0 being true."""
        text = self._value(key, default)
        return self._keep(key, default if text is None else self._int(key, text) != 0)

    def string(self, key, default=REQUIRED):
        """The text itself."""
        text = self._value(key, default)
        return self._keep(key, default if text is None else text)

    def choice(self, key, choices, default=REQUIRED):
        """One of the given words."""
        text = self._value(key, default)
        if text is None:
            return self._keep(key, default)
        word = _BLANKS.sub("", text)
        if word not in choices:
            hint = suggestion(word, choices) or f"; known are {', '.join(choices)}"
            raise self.error(f"{key}={shown(word)} is not known{hint}", key)
        return self._keep(key, word)

    def ints(self, key, default=REQUIRED):
        """Whole numbers between commas."""
        return self._list(key, default, self._int)

    def floats(self, key, default=REQUIRED):
        """Numbers between commas."""
        return self._list(key, default, self._float)

    def _list(self, key, default, number):
        text = self._value(key, default)
        if text is None:
            return self._keep(key, default)
        elements = [element.strip() for element in text.split(",")]
        if "" in elements:
            self.warn(f"{key}={shown(text)} has an empty element, which is left out", key)
        return self._keep(key, [number(key, element) for element in elements if element])

    def _keep(self, key, value):
        self.values[key] = value
        return value

    def _int(self, key, text, minimum=-LARGEST_INT, maximum=LARGEST_INT):
        digits = self._prefix(_INT, key, text)
        # int() of very long digits is slow and refused by Python
        value = int(digits) if len(digits) < 20 else LARGEST_INT + 1
        return self._inside(key, digits, value, minimum, maximum)

    def _float(self, key, text, minimum=-math.inf, maximum=math.inf):
        digits = self._prefix(_FLOAT, key, text)
        value = float(digits)
        if not math.isfinite(value):
            raise self.error(f"{key}={shown(digits)} is too large", key)
        return self._inside(key, digits, value, minimum, maximum)

    def _prefix(self, pattern, key, text):
        """The number that the text begins with."""
        found = pattern.match(text)
        if not found:
            raise self.error(f"{key}={shown(text)} is not a number", key)
        rest = text[found.end() :]
        if re.match(r"[ \t]+[0-9.+-]", rest):
            raise self.error(
                f"{key}={shown(text)}: a comma is missing, or a blank is in a number", key
            )
        if rest:
            self.warn(f"{key}={shown(text)} is read as {shown(found.group())}", key)
        return found.group()

    def _inside(self, key, digits, value, minimum, maximum):
        if value < minimum:
            raise self.error(f"{key}={shown(digits)} must be at least {minimum}", key)
        if value > maximum:
            raise self.error(f"{key}={shown(digits)} must be at most {maximum}", key)
        return value

    def unknown(self):
        """(key, line, nearest known key or None) of every option that nobody asked for."""
        left = [key for key in self._options if key not in self._asked]
        return [(key, self.line_of(key), nearest(key, self._asked)) for key in left[:MAX_WARNINGS]]

    def warn_unknown(self):
        """Warns of every key that nobody asked for, naming the nearest known one; what was `set`
        would be without effect, which is an error."""
        for key, line, near in self.unknown():
            hint = f"; did you mean {near!r}?" if near else ""
            message = f"has no key {shown(key)}{hint}"
            if key in self._set:
                raise self.error(message)
            self.source.warn(line, message, self.name)


def nearest(word, words):
    """The known word most like the given one, or None."""
    near = difflib.get_close_matches(word[:40], list(words), n=1, cutoff=0.6)
    return near[0] if near else None


def suggestion(word, words):
    """`; did you mean ...?`, or nothing."""
    near = nearest(word, words)
    return f"; did you mean {near!r}?" if near else ""


def shown(text):
    """Text quoted for a message, shortened."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def parse(text, path="<cfg>", strict=False):
    """Sections of a cfg's text; with strict, what is otherwise a warning is an error."""
    source = Source(path, strict)
    if len(text) > MAX_BYTES:
        raise source.error(1, f"is no network description: more than {MAX_BYTES} characters")
    sections = []
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = raw.split("\0", 1)[0].strip(" \t\r")
        if line.startswith("["):
            sections.append(Section(_section_name(line, number, source), number, source))
            if len(sections) > MAX_SECTIONS:
                raise source.error(number, f"has more than {MAX_SECTIONS} sections")
        elif line and line[0] not in "#;":
            _option(line, number, sections, source)
    if not sections:
        raise source.error(1, "has no section; the first must be [net]")
    return sections


def _section_name(line, number, source):
    inside, bracket, rest = line[1:].partition("]")
    if not bracket:
        raise source.error(number, f"section {shown(line)} has no closing bracket")
    if rest.strip()[:1] not in ("", "#", ";"):
        raise source.error(number, f"section {shown(line)} has text after its bracket")
    return _BLANKS.sub("", inside)


def _option(line, number, sections, source):
    key, equals, value = line.partition("=")
    key, value = _BLANKS.sub("", key), value.split("#", 1)[0].strip()
    if not sections:
        raise source.error(number, f"{shown(line)} stands before the first section; that is [net]")
    name = sections[-1].name
    if not equals:
        source.warn(number, f"{shown(line)} has no '=' and is ignored", name)
    elif not value:
        source.warn(number, f"{shown(key)} has no value and is ignored", name)
    else:
        sections[-1].add(key, value, number)


def read(path, strict=False):
    """Sections of a .cfg file. Bytes that are not UTF-8 become replacement characters."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a .cfg file")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise CfgError(f"{path}:1: is no network description: more than {MAX_BYTES} bytes")
    return parse(data.decode("utf-8", errors="replace"), path, strict)


def dump(sections):
    """The cfg text of sections, without their comments."""
    blocks = [
        "\n".join([f"[{s.name}]", *(f"{key}={value}" for key, value in s.items())])
        for s in sections
    ]
    return "\n\n".join(blocks) + "\n"

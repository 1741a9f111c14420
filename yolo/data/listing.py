"""Image lists of any length: what is held is where each line begins, not the lines.

A list of up to HELD bytes is read whole. Of a longer one the beginnings of the lines are written
beside it (`train.txt.index`, 8 bytes an image) and mapped into memory, so that ten million images
open at once and all processes share one copy; the lines are read from the list when they are
needed. The index is made anew when the list's size or time of change is another.
"""

import logging
import os
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..files import replacing
from .lists import DataError
from .paths import shown

HELD = 1 << 24  # bytes of a list that is read whole: some 300,000 images
CHUNK = 1 << 24  # bytes looked at together while lines are searched for
MAGIC = 0x31_58_44_49_4F_4C_4F_59  # the first number of an index; other byte orders read another
HEADER = 4  # numbers: MAGIC, the list's size and time of change, how many lines are empty

log = logging.getLogger("yolo.data")


@dataclass(frozen=True)
class Entry:
    """One image of a list: how the list spells it and on which line."""

    text: str
    line: int


def read_list(path):
    """The entries of an image list. Empty lines are passed over (Darknet draws again)."""
    found = Listing(path)
    if not found:
        raise DataError(f"{shown(path)}: no image in this list")
    return found


class Listing(Sequence):
    """The entries of a list file, each made when it is asked for.

    Lines end with LF, CR LF or CR; bytes that are not UTF-8 survive, so that file names with them
    can be opened. A list that is not held must stay as it is while it is in use: a change raises
    DataError; replacing the file by another of its name does no harm.
    """

    def __init__(self, path):
        self.path = os.fspath(path)
        try:
            self._open()
        except (OSError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{shown(path)}: {reason}") from None

    def _open(self):
        self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - as long as this lives
        status = os.fstat(self._file.fileno())
        self._state = status.st_size, status.st_mtime_ns
        long = stat.S_ISREG(status.st_mode) and status.st_size > HELD and hasattr(os, "pread")
        self._held = None if long else self._file.readall()
        self.size = status.st_size if long else len(self._held)
        if long:
            numbers = self._mapped()
            count = int(numbers[HEADER - 1])
            self._empty, self._starts = np.split(numbers[HEADER:], [count])
        else:
            self._file.close()
            self._empty, self._starts = self._find()

    def __reduce__(self):
        return Listing, (self.path,)  # another process opens the file itself

    def __len__(self):
        return len(self._starts)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        start = int(self._starts[index])
        end = int(self._starts[index + 1]) if index + 1 < len(self) else self.size
        line = index + 1 + int(np.searchsorted(self._empty, index, "right"))
        return Entry(self._text(start, end), line)

    def _text(self, start, end):
        """The line that begins at `start`; what follows it up to `end` is passed over."""
        found = self._bytes(start, end).splitlines()
        return found[0].decode("utf-8", "surrogateescape") if found else ""

    def _bytes(self, start, end):
        if self._held is not None:
            return self._held[start:end]
        status = os.fstat(self._file.fileno())
        if (status.st_size, status.st_mtime_ns) != self._state:
            raise DataError(f"{shown(self.path)}: changed while it is in use; start again")
        return os.pread(self._file.fileno(), end - start, start)

    # ---- the index ----

    def _mapped(self):
        """The index file's numbers, mapped; it is made where there is none that fits."""
        path = f"{self.path}.index"
        found = self._fitting(path)
        if found is not None:
            return found
        empty, starts = self._find()
        header = np.array([MAGIC, *self._state, len(empty)], np.int64)
        try:
            with replacing(path) as file:
                _write(file, header, empty, starts)
            return np.memmap(path, np.int64, "r")
        except OSError as error:
            log.warning(
                "%s: the index of this list cannot be kept (%s); it is made anew at each start, "
                "in a temporary file",
                shown(path),
                error.strerror,
            )
        with tempfile.TemporaryFile() as file:  # mapped, it stays until the last process ends
            _write(file, header, empty, starts)
            file.flush()
            return np.memmap(file, np.int64, "r")

    def _fitting(self, path):
        """The numbers of an index file that is of this very list, else None."""
        try:
            found = np.memmap(path, np.int64, "r")
        except (OSError, ValueError):  # absent, empty, or cut short
            return None
        known = len(found) > HEADER and tuple(found[: HEADER - 1]) == (MAGIC, *self._state)
        return found if known and 0 <= found[HEADER - 1] < len(found) - HEADER else None

    def _find(self):
        """(how many entries come before each empty line, where each entry begins)."""
        starts, first = self._lines()
        lengths = np.diff(starts, append=self.size)
        # What may be blank begins with an ASCII blank or with the first byte of another one.
        unsure = (first <= 32) | (first == 0xC2) | ((first >= 0xE1) & (first <= 0xE3))
        empty = (first == 10) | ((first == 13) & (lengths <= 2))
        for line in np.flatnonzero(unsure & ~empty):
            start = int(starts[line])
            empty[line] = not self._text(start, start + int(lengths[line])).strip()
        numbers = np.flatnonzero(empty)
        return numbers - np.arange(len(numbers)), starts[~empty]

    def _lines(self):
        """(where each line begins, its first byte)."""
        begin = 3 if self._bytes(0, 3) == b"\xef\xbb\xbf" else 0  # a byte order mark
        position, starts, first = begin, [], []
        waiting = np.array([begin])  # a line that begins at `position`, or none
        while position < self.size:
            chunk = self._bytes(position, min(position + CHUNK, self.size))
            if b"\0" in chunk:
                raise DataError(f"{shown(self.path)}: holds zero bytes; expected a text file")
            if chunk.endswith(b"\r") and 1 < len(chunk) < self.size - position:
                chunk = chunk[:-1]  # what follows it decides what it is
            values = np.frombuffer(chunk, np.uint8)
            begins = np.concatenate((waiting, position + 1 + _ends(values)))
            position += len(chunk)
            inside, waiting = begins[begins < position], begins[begins == position]
            starts.append(inside)
            first.append(values[inside - position])  # counted from the chunk's end
        if not starts:
            return np.zeros(0, np.int64), np.zeros(0, np.uint8)
        return np.concatenate(starts), np.concatenate(first)


def _ends(values):
    """Where lines end among bytes: the LF, or the CR that no LF follows."""
    ends = values == 10
    returns = values == 13
    if returns.any():
        returns[:-1] &= ~ends[1:]
        ends |= returns
    return np.flatnonzero(ends)


def _write(file, *parts):
    for part in parts:
        file.write(np.ascontiguousarray(part, np.int64).data)

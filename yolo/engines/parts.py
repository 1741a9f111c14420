"""A source cut into parts: what one worker looks at in one go, and reads by itself.

    folder, pattern, images     so many files
    list.txt                    so many of its lines
    x.parquet, a folder of them one row group; rows have `bytes` or `image`, or a file's `path`
    x-{000..099}.tar, a URL     one shard

So pixels never pass from process to process; a part travels as one line of text.
"""

import glob
import hashlib
import json
import os
from dataclasses import asdict, dataclass

import numpy as np

from ..data import image, shards
from ..data.image import ImageError
from ..data.listing import Listing, read_list
from ..data.lists import DataError
from ..data.paths import around, resolve, shown
from ..data.sources import Frame, expand, is_video

ROWS = 64  # of a Parquet file, in memory at a time


@dataclass(frozen=True)
class Part:
    """One part: `what` are the arguments of the function `kind` that reads it."""

    number: int
    first: int  # of its images in the whole source, from 0; in its shard, for shards
    kind: str
    what: tuple

    def dumps(self):
        """One line of text; names that are no text survive."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text):
        return cls(**json.loads(text))

    def images(self):
        """Functions that give a Frame each; what cannot be read is a Frame with its error."""
        return KINDS[self.kind](*self.what)


def cut(sources, size):
    """The parts of images and folders, or of one source of another kind: up to `size` images each,
    one shard, or one row group."""
    pieces = _pieces(sources[0], size) if len(sources) == 1 else None
    if pieces is None:
        if other := next(filter(_is_whole, sources), None):
            raise DataError(f"{shown(other)}: a list, table or shard must be the only source")
        pieces = _of_files(expand(sources), size)
    return [Part(number, *piece) for number, piece in enumerate(pieces)]


def _is_whole(source):
    return shards.is_shards(source) or source.lower().endswith((".txt", ".parquet"))


def _pieces(source, size):
    """(first image, kind, what) of each part of a list, table or shards; None for others."""
    if shards.is_shards(source):
        return [(0, "shard", (url,)) for url in shards.expand(source, around())]
    if tables := _tables(source):
        return _row_groups(tables)
    if source.lower().endswith(".txt"):
        count = len(read_list(source))
        return [(n, "lines", (source, n, min(n + size, count))) for n in range(0, count, size)]
    return None


def _of_files(paths, size):
    if video := next(filter(is_video, paths), None):
        raise DataError(f"{shown(video)}: a video; parts are made of images")
    return [(n, "files", paths[n : n + size]) for n in range(0, len(paths), size)]


def state(source):
    """What tells whether a source is still the one that was cut: its size and time of change."""
    found = os.stat(source) if os.path.exists(source) else None
    return [source, found.st_size, found.st_mtime_ns] if found else [source]


def digest(parts):
    """SHA-256 of all parts."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.dumps().encode())
    return found.hexdigest()


# ---- how each kind is read ----


def _files(*paths):
    return (_file(path) for path in paths)


def _file(path):
    return lambda: _frame(path, lambda: image.read(path))


def _lines(path, begin, end):
    listing, folders = Listing(path), around(path)
    for index in range(begin, end):
        entry = listing[index]
        found = resolve(entry.text, folders)
        yield _file(found) if found else _missing(entry.text, f"{path}:{entry.line}")


def _shard(url):
    return (_encoded(raw.path, raw.image) for raw in shards.raws(url))


def _rows(path, group):
    file, row = _parquet().ParquetFile(path), 0
    names = set(file.schema_arrow.names)
    content = next((name for name in ("bytes", "image") if name in names), None)
    if content is None and "path" not in names:
        raise DataError(f"{shown(path)}: no column bytes, image or path, but {sorted(names)}")
    columns = [name for name in ("path", content) if name in names]
    for batch in file.iter_batches(ROWS, [group], columns):
        for record in batch.to_pylist():
            yield _row(path, f"{path}:{group}:{row}", record.get("path"), record.get(content))
            row += 1


def _row(table, name, path, content):
    if isinstance(content, dict):  # as data sets of Hugging Face have it: bytes, path
        content, path = content.get("bytes"), path or content.get("path")
    if isinstance(content, bytes):
        return _encoded(path or name, content)
    found = resolve(path or "", around(table))
    return _file(found) if found else _missing(path or "", name)


def _missing(text, where):
    error = ImageError(f"{shown(where)}: {shown(text)}: no such file")
    return lambda: Frame(text or where, None, error)


def _encoded(path, content):
    return lambda: _frame(path, lambda: image.decode(np.frombuffer(content, np.uint8), path))


def _frame(path, read):
    try:
        return Frame(path, read())
    except ImageError as error:
        return Frame(path, None, error)


KINDS = {"files": _files, "lines": _lines, "shard": _shard, "rows": _rows}


# ---- Parquet ----


def _tables(source):
    """The Parquet files that a source means; none where it is something else."""
    if source.lower().endswith(".parquet") and os.path.isfile(source):
        return [source]
    return sorted(glob.glob(os.path.join(glob.escape(source), "*.parquet")))


def _row_groups(tables):
    """(first image, kind, what) of each row group."""
    pieces, first = [], 0
    for path in tables:
        try:
            known = _parquet().ParquetFile(path).metadata
        except (OSError, ValueError) as error:
            raise DataError(f"{shown(path)}: no Parquet file: {error}") from None
        for group in range(known.num_row_groups):
            pieces.append((first, "rows", (path, group)))
            first += known.row_group(group).num_rows
    if not first:
        raise DataError(f"{shown(tables[0])}: no row in these tables")
    return pieces


def _parquet():
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError("Parquet needs pyarrow: pip install 'darknet-torch[ray]'") from None
    return parquet

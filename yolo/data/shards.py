"""Data sets in tar files (WebDataset's shards), read as streams: from disks, pipes, object storage.

A shard holds the files of an image side by side: `0001.jpg`, and `0001.txt` as Darknet has it or
`0001.json` with {"boxes": [[class, x, y, width, height], ...]}. Shards are read one after another,
which is what makes them fast; so they have no item by index, but an order of their own (`stream`).
"""

import json
import lzma
import os
import re
import subprocess
import tarfile
import zlib
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, groupby, islice

import numpy as np

from . import image, labels
from .check import Check
from .image import ImageError
from .labels import LabelError
from .lists import DataError, DataFile
from .paths import around, resolve, shown
from .sample import Sample
from .sources import IMAGES
from .stream import StreamOrder

MOST = 1_000_000  # shards
DAMAGE = OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error
PIPES = "YOLO_PIPES"  # set to 1: a .data file may name commands
ARCHIVE = re.compile(r"\.(tar|tgz|tar\.(gz|bz2|xz))$")


class ShardError(DataError):
    """A shard that cannot be read."""


@dataclass(frozen=True)
class Raw:
    """One image of a shard, as it is in its file."""

    path: str  # shard:name, for messages
    image: bytes
    label: bytes | None = None
    form: str = "txt"  # or json: of the label


def is_shards(text):
    """Whether a value of a .data file names shards, not a list."""
    return bool(ARCHIVE.search(text)) or text.startswith("pipe:") or "://" in text


def expand(text, folders=()):
    """The shards that `train-{0000..0099}.tar` stands for, local ones seen from `folders`; several
    are separated by `::`, as in WebDataset."""
    if re.search(r"\{\d{9,}|\.\.\d{9,}", text):
        raise ShardError(f"{shown(text)}: more than {MOST} shards")
    try:
        found = _package().shardlists.expand_urls(text) if "{" in text else text.split("::")
    except ValueError as error:
        raise ShardError(f"{shown(text)}: {error}") from None
    if len(found) > MOST:
        raise ShardError(f"{shown(text)}: {len(found)} shards; expected at most {MOST}")
    return [_located(url, folders) for url in found]


def _located(url, folders):
    if is_remote(url):
        return url
    found = resolve(url, folders)
    if found is None:
        looked = ", ".join(shown(folder) for folder in folders)
        raise ShardError(f"{shown(url)}: no such file; looked from {looked or os.getcwd()}")
    return found


def is_remote(url):
    """Whether this is no local file, but a URL or a command."""
    return url.startswith("pipe:") or "://" in url


def _package():
    try:
        import webdataset
    except ImportError as error:
        raise ShardError(f"shards need {error.name}: pip install 'darknet-torch[shards]'") from None
    return webdataset


# ---- one shard ----


def raws(url):
    """The images of a shard, in its order."""
    reader = _package().tariterators
    try:
        with closing(_opened(url)) as opened:
            stream = _Watched(opened)
            files = reader.tar_file_expander([{"url": url, "stream": stream}])
            for sample in reader.group_by_keys(files):
                if found := _raw(url, sample):
                    yield found
            if stream.cut_short:
                raise ShardError(f"{shown(url)}: cut short; the end of the archive is missing")
    except (*DAMAGE, ValueError, subprocess.SubprocessError) as error:
        if isinstance(error, DataError):
            raise
        raise ShardError(f"{shown(url)}: cannot be read as a shard: {_reason(error)}") from None


def _reason(error):
    """An error's first line, without the Python object that webdataset adds."""
    text = getattr(error, "strerror", None) or str(error.args[0] if error.args else error)
    return text.partition(" @ <")[0].partition("\n")[0].rstrip(":")


def _opened(url):
    if not is_remote(url):
        return open(url, "rb")
    if url.startswith("pipe:") and os.environ.get(PIPES) != "1":
        raise ShardError(
            f"{shown(url)}: this would run a command; set {PIPES}=1 if you trust who wrote it"
        )
    return _package().gopen(url)


class _Watched:
    """A stream of a tar file, which tells whether its end came; tarfile does not say."""

    def __init__(self, stream):
        self.stream, self.plain, self.last = stream, None, b""

    def read(self, size):
        data = self.stream.read(size)
        if self.plain is None:
            self.plain = data[257:262] == b"ustar"  # no compression
        self.last = data or self.last
        return data

    @property
    def cut_short(self):
        return bool(self.plain) and self.last[-tarfile.BLOCKSIZE :].strip(b"\0") != b""


def _raw(url, sample):
    """What is used of the files with one name; None where no image is among them."""
    ends = [end for end in sample if not end.startswith("__")]
    kind = next(filter(_is_image, ends), None)
    if kind is None:
        return None
    form = next((form for form in ("txt", "json") if form in ends), None)
    label = {"label": sample[form], "form": form} if form else {}
    return Raw(f"{url}:{sample['__key__']}.{kind}", sample[kind], **label)


def images_in(path):
    """How many images a local shard holds; only the names in it are read."""
    split = _package().tariterators.base_plus_ext
    try:
        with tarfile.open(path, "r:*") as archive:
            names = [split(entry.name) for entry in archive if entry.isreg()]
    except DAMAGE as error:
        raise ShardError(f"{shown(path)}: cannot be read as a shard: {_reason(error)}") from None
    groups = groupby((name for name in names if name[0] is not None), key=lambda name: name[0])
    return sum(any(_is_image(end) for _, end in group) for _, group in groups)


def _is_image(end):
    """Whether a file with this end of its name (b.PNG) is an image."""
    return f".{end.lower().rpartition('.')[2]}" in IMAGES


# ---- all of them ----


class ShardDataset:
    """Images of shards. `urls` as `expand` gives them; `length`: how many images they hold."""

    def __init__(self, urls, length, classes=None, names=None, path=None):
        self.urls, self.length, self.path = urls, length, path
        self.classes, self.names = classes, names

    @classmethod
    def from_data(cls, path, part="train", classes=None):
        """The shards that a `.data` file has under `part`, train or valid. How many images they
        hold stands under `train_images`; it is counted where all shards are local files."""
        data = DataFile.read(path)
        try:
            urls = expand(data.get(part), around(path))
        except ShardError as error:
            raise data.error(part, str(error)) from None
        key = f"{part}_images"
        length = data.number(key, digits=10)
        if length is None and any(map(is_remote, urls)):
            raise data.error(part, f"says no {key} = N, and remote shards are not counted")
        length = length or sum(map(images_in, urls))
        if not length:
            raise data.error(part, "no image in these shards")
        return cls(urls, length, classes or data.classes, data.names(), os.fspath(path))

    def __len__(self):
        return self.length

    def needs_list(self, *_):
        """What a list can do and a stream cannot: raises DataError."""
        raise DataError(
            f"{shown(self.path or '<shards>')}: this needs a list of images, not shards"
        )

    boxes = image_path = needs_list
    entries = property(needs_list)

    def raws(self, shards=None):
        """All images as they are in their files, shard by shard; `shards`: numbers of shards."""
        numbers = range(len(self.urls)) if shards is None else shards
        return chain.from_iterable(raws(self.urls[number]) for number in numbers)

    def __iter__(self):
        return map(self.load, self.raws())

    def load(self, raw):
        """A Raw decoded, with its boxes."""
        boxes, repairs = self._boxes(raw)
        pixels = image.decode(np.frombuffer(raw.image, np.uint8), raw.path)
        return Sample(pixels, boxes, raw.path, raw.label is None, tuple(map(str, repairs)))

    def _boxes(self, raw):
        if raw.label is None:
            return np.zeros((0, 5), np.float32), ()
        path = f"{raw.path.rpartition('.')[0]}.{raw.form}"
        text = raw.label.decode("utf-8-sig", "replace")
        lines = text.splitlines() if raw.form == "txt" else _json_lines(text, path)
        return labels.checked(path, lines, self.classes)

    def check(self, limit=200):
        """Looks at the first `limit` images, and returns a `check.Check`; raises DataError where
        more than a tenth of them cannot be used, or none has labels."""
        found = Check()
        for raw in islice(self.raws(), limit):
            found.images += 1
            try:
                sample = self.load(raw)
            except (ImageError, LabelError) as error:
                found.broken.append(str(error))
                continue
            found.boxes += len(sample.boxes)
            found.repairs += sample.repairs
            found.unlabelled += [raw.path] if sample.unlabelled else []
        found.judge(self.path)
        return found

    def order(self, sizes, seed=0, start=0, number=0, share=None):
        """What the loader draws, batch by batch."""
        return StreamOrder(self, sizes, seed, start, number, share)


def _json_lines(text, path):
    """The rows of a JSON label as lines of a label file, which has all the checks."""
    try:
        rows = json.loads(text)["boxes"]
        return [" ".join(map(str, row)) for row in rows]
    except (ValueError, LookupError, TypeError, RecursionError):
        wanted = '{"boxes": [[class, x, y, width, height], ...]}'
        raise LabelError(f"{shown(path)}:1: expected {wanted}, got {shown(text[:60])}") from None

"""Published weights: registry.json says where they are, and what is known to tell them by.

Each entry: cfg, url, and where a public source states them mib (rounded, as pages give it), bytes
and sha256. Nothing here reaches for the network unless download() is called.
"""

import hashlib
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..files import replacing
from .darknet import WeightsError, refuse_page

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without an answer
MARGIN = 1.02  # pages round sizes
LARGEST = 1 << 31  # bytes, of a file whose size nobody states


@dataclass
class Entry:
    """One file of published weights."""

    name: str
    cfg: str
    url: str
    mib: float | None = None
    bytes: int | None = None
    sha256: str | None = None

    @property
    def limit(self):
        """Bytes that a download may have."""
        if self.bytes is not None:
            return self.bytes
        return LARGEST if self.mib is None else int((self.mib + 1) * MARGIN * 2**20)

    def check(self, size, digest, where):
        """Refuses a file that is not the published one."""
        if self.bytes is not None and size != self.bytes:
            raise WeightsError(f"{where}: has {size} bytes; {self.name} has {self.bytes}")
        rounded = self.mib is not None and self.bytes is None
        if rounded and not self.mib / MARGIN < size / 2**20 < (self.mib + 1) * MARGIN:
            raise WeightsError(f"{where}: has {size} bytes; {self.name} has {self.mib} MiB")
        if self.sha256 is not None and digest != self.sha256:
            raise WeightsError(
                f"{where}: its sha256 is {digest}, that of {self.name} is {self.sha256}: the file "
                "is damaged or another one"
            )


def entries():
    """{name: Entry} of all published weights that are known."""
    listed = json.loads(Path(__file__).with_name("registry.json").read_text())
    return {name: Entry(name, **facts) for name, facts in listed.items()}


def find(name):
    """The entry of a name."""
    known = entries()
    if name not in known:
        raise WeightsError(
            f"{name}: no such file, and no such published weights; known are {', '.join(known)}"
        )
    return known[name]


def sha256(path):
    """Hexadecimal digest of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def download(entry, path):
    """Fetches a file, which appears at `path` complete and checked, or not at all."""
    if urlsplit(entry.url).scheme not in ("http", "https"):
        raise WeightsError(f"{entry.url}: is no address of the web")
    try:
        with urllib.request.urlopen(entry.url, timeout=TIMEOUT) as answer, replacing(path) as file:
            _copy(entry, answer, file)
    except urllib.error.HTTPError as error:
        raise WeightsError(f"{entry.url}: {error.code} {error.reason}") from None
    except OSError as error:
        raise WeightsError(f"{entry.url}: {getattr(error, 'reason', error)}") from None
    return Path(path)


def _copy(entry, answer, file):
    """From the answer into the file, never more than the file can have."""
    limit = entry.limit
    block = answer.read(CHUNK)
    refuse_page(block[:64], entry.url)
    size, digest = 0, hashlib.sha256()
    while block:
        size += len(block)
        if size > limit:
            raise WeightsError(f"{entry.url}: is larger than {entry.name}, which has {limit} bytes")
        digest.update(block)
        file.write(block)
        block = answer.read(CHUNK)
    entry.check(size, digest.hexdigest(), entry.url)

"""Writing files that matter: complete or not there, whatever stops the program."""

import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def staged(path):
    """Gives a temporary path beside `path`, to be written by whom it is given to; leaving the
    block without an error flushes that file to the disk and renames it to `path`, an error
    removes it and leaves `path` as it was."""
    path, temporary = Path(path), None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        yield Path(temporary)
        sync(temporary)
        os.chmod(temporary, 0o666 & ~umask())
        os.replace(temporary, path)
    except BaseException as error:
        _name(error, path, temporary)
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
        raise
    sync_folder(path.parent)


def _name(error, path, temporary):
    """The system's error about the temporary file, which a full disk does not even name, becomes
    one about the file that was to be written."""
    if not isinstance(error, OSError) or error.strerror is None:
        return
    if temporary is None or error.filename in (None, temporary):
        error.filename = str(path)


@contextmanager
def replacing(path):
    """As `staged`, but gives an open binary file."""
    with staged(path) as temporary, temporary.open("wb") as file:
        yield file


def atomic(path, content):
    """Writes text or bytes to `path`, replacing it in one step. Text becomes UTF-8, and what was
    no text when it was read (surrogates) the bytes that it was."""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    with replacing(path) as file:
        file.write(content)


def leftovers(path):
    """Temporary files that a killed program left beside `path`."""
    path = Path(path)
    start, random = f".{path.name}.", 8  # what tempfile appends
    return [
        found
        for found in path.parent.iterdir()
        if found.name.startswith(start) and len(found.name) == len(start) + random
    ]


def umask():
    """The permission bits that new files lack."""
    current = os.umask(0)
    os.umask(current)
    return current


def sync(path):
    """Makes the content of a file survive a power cut."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder):
    """Makes a rename inside `folder` survive a power cut, where the system allows it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

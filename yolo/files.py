"""Writing files that matter: complete or not there, whatever stops the program."""

import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path):
    """Opens a binary file under a temporary name; leaving the block without an error flushes
    it to the disk and renames it to `path`, an error removes it and leaves `path` as it was."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~umask())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def atomic(path, content):
    """Writes text (as UTF-8) or bytes to `path`, replacing it in one step."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def umask():
    """The permission bits that new files lack."""
    current = os.umask(0)
    os.umask(current)
    return current


def sync_folder(folder):
    """Makes a rename inside `folder` survive a power cut, where the system allows it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

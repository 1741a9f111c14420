"""NAME.ckpt: everything that a run needs to go on, in one file that is complete or not there.

A safetensors file. Its metadata holds `state`, a JSON text, and `digest`, the SHA-256 of the state
and of every tensor with its name, kind and shape; nothing in it can run code. `Series` keeps the
newest as NAME.ckpt and older ones as NAME_ITERATION.ckpt.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save, save_file
from torch import Tensor

from .errors import YoloError
from .files import leftovers, staged

FORMAT = 1
HEADER_BYTES = 1 << 16  # more than the names and places of the tensors of any network take


class CheckpointError(YoloError, ValueError):
    """A checkpoint that is damaged, or belongs to another program or network."""


@dataclass
class Checkpoint:
    """`state` holds what JSON can hold, `tensors` the rest."""

    state: dict
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def size(self):
        """Bytes of the file, nearly."""
        return sum(t.numel() * t.element_size() for t in self.tensors.values()) + HEADER_BYTES


def write(path, checkpoint):
    """Writes a checkpoint; `path` is the old file or the whole new one at any instant."""
    tensors, metadata = _parts(checkpoint)
    with staged(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # the library's words for a full or lost disk
            raise OSError(f"{path}: {error}") from None


def read(path):
    """The checkpoint of a file; CheckpointError where anything about it is not as written.

    The file is opened once: a run may put a new one in its place meanwhile.
    """
    return parse(Path(path).read_bytes(), path)


def dump(checkpoint):
    """The bytes of a checkpoint's file."""
    return save(*_parts(checkpoint))


def _parts(checkpoint):
    """(tensors, metadata) as they are stored."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}
    state = json.dumps(checkpoint.state | {"format": FORMAT})
    return tensors, {"state": state, "digest": digest(state, tensors)}


def parse(content, path):
    """The checkpoint whose bytes these are; `path` is for messages."""
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header.get("__metadata__") or {}
    except (SafetensorError, ValueError, RuntimeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: is damaged or no checkpoint: {error}") from None
    if not {"state", "digest"} <= metadata.keys():
        raise CheckpointError(f"{path}: is no checkpoint of this program: it has no state")
    if digest(metadata["state"], tensors) != metadata["digest"]:
        raise CheckpointError(f"{path}: is damaged: its content does not match its checksum")
    return Checkpoint(_state(metadata["state"], path), tensors)


def _state(text, path):
    try:
        state = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: is no checkpoint of this program: {error}") from None
    if state.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: has format {state.get('format')}, this program reads {FORMAT}; "
            "use the version of the program that wrote it"
        )
    return state


def digest(state, tensors):
    """SHA-256 of a state and of tensors in the order of their names."""
    total = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return total.hexdigest()


class Series:
    """The checkpoints of one run in one folder: the newest, and up to `keep` older ones."""

    def __init__(self, folder, name, keep=1):
        self.folder, self.name, self.keep = Path(folder), name, keep
        self.path = self.folder / f"{name}.ckpt"
        self.present = None  # iteration of the file that `path` is

    def save(self, checkpoint):
        """Writes the newest; what was the newest becomes an older one."""
        if self.present is not None and self.keep and self.path.is_file():
            self._set_aside(self.folder / f"{self.name}_{self.present}.ckpt")
        write(self.path, checkpoint)
        self.present = checkpoint.state["iteration"]
        for old in self.older()[self.keep :]:
            old.unlink(missing_ok=True)

    def _set_aside(self, old):
        """A second name for the newest file: there is no moment without it."""
        old.unlink(missing_ok=True)
        try:
            os.link(self.path, old)
        except OSError:  # a file system without links
            with staged(old) as temporary:
                shutil.copyfile(self.path, temporary)

    def older(self):
        """Earlier checkpoints, those written last first."""
        start = f"{self.name}_"
        found = []
        for path in self.folder.glob("*.ckpt"):
            if path.name.startswith(start) and path.stem[len(start) :].isdecimal():
                found.append((path.stat().st_mtime_ns, int(path.stem[len(start) :]), path))
        return [path for *_, path in sorted(found, reverse=True)]

    def newest(self, say):
        """(path, checkpoint) of the newest good one, or None where there is none at all; `say`
        is told of each damaged one. Only damaged ones: CheckpointError."""
        candidates = [path for path in (self.path, *self.older()) if path.is_file()]
        for path in candidates:
            try:
                found = read(path)
            except CheckpointError as error:
                say(f"{error}; it is passed over")
            else:
                self.present = found.state["iteration"] if path == self.path else None
                return path, found
        if candidates:
            raise CheckpointError(
                f"{self.folder}: no good checkpoint among {len(candidates)}; start from the last "
                "weights with --weights and --fresh"
            )
        return None

    def sweep(self):
        """Removes what saves that were killed have left."""
        for path in leftovers(self.path):
            path.unlink(missing_ok=True)

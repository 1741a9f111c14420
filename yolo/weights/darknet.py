""".weights file <-> Network. The file has no tags: the cfg alone says what its numbers are.

    int32 major, minor, revision;  images seen: uint64, or uint32 before version 0.2
    float32 values, layer after layer in the order of Layer.stored(); all little-endian

A file may end after any layer (`yolov4.conv.137`): the layers that follow keep their values.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import YoloError
from ..files import replacing

VERSION = (0, 2, 5)
WIDE_SEEN = 2  # from 10 * major + minor on, seen has 64 bits
TRANSPOSED = 1000  # above, matrices are stored (inputs, outputs)


class WeightsError(YoloError, ValueError):
    """A file that does not hold what the network needs; nothing was loaded."""


@dataclass
class Header:
    """What a file begins with."""

    version: tuple
    seen: int
    size: int  # bytes

    @property
    def transposed(self):
        """Whether the matrices of [connected] are stored with rows for inputs."""
        return max(self.version[:2]) > TRANSPOSED


def load(net, path, cutoff=None, strict=False):
    """Reads the values of the first `cutoff` layers (None: all) and the count of images seen.

    Returns how many layers the file covers; strict: all of them, or it is an error. Nothing of
    the network changes unless all is well.
    """
    refuse_fused(net, "be loaded into")
    path = Path(path)
    layers = net.layers[:cutoff]
    with path.open("rb") as file:
        header, found = begin(file, path)
        covered = _covered(net, layers, found, path, header, surplus=cutoff is not None)
        if strict and covered < len(layers):
            raise WeightsError(_ends_early(net, path, layers[covered], covered))
        parts = list(_split(layers[:covered], file, header))
    for layer, tensor, part in parts:
        _check_values(layer, tensor, part, path)
    with torch.no_grad():
        for _, tensor, part in parts:
            tensor.copy_(torch.from_numpy(part.astype(np.float32)))
    net.seen = header.seen
    net.iteration = header.seen // net.options.effective_batch
    return covered


def save(net, path, cutoff=None, version=VERSION):
    """Writes the values of the first `cutoff` layers (None: all); the file appears complete.

    A file of some layers starts a new training, so it says that no image was seen.
    """
    refuse_fused(net, "be saved from")
    header = _pack_header(version, net.seen if cutoff is None else 0)
    transposed = max(version[:2]) > TRANSPOSED
    with replacing(path) as file:
        file.write(header)
        for layer in net.layers[:cutoff]:
            for tensor in layer.stored():
                values = tensor.detach().cpu().float()
                values = values.T if transposed and values.dim() == 2 else values
                file.write(values.numpy().astype("<f4").tobytes())


def refuse_fused(net, verb):
    if net.is_fused:
        raise WeightsError(
            f"{net.cfg_path}: batch normalisation is folded into the weights of this copy, so "
            f"that no file can {verb} it; use the network that fused() was called on"
        )


def count(net, cutoff=None):
    """Values that a complete file holds after its header."""
    return sum(tensor.numel() for layer in net.layers[:cutoff] for tensor in layer.loaded())


def header_of(path):
    """What a file begins with."""
    with Path(path).open("rb") as file:
        return begin(file, path)[0]


def coverage(net, path):
    """In words, which layers of a network a file fills."""
    with Path(path).open("rb") as file:
        header, found = begin(file, path)
    layers = _covered(net, net.layers, found, path, header, surplus=False)
    if layers == len(net.layers):
        return f"all {layers} layers are in the file"
    first = net.layers[layers]
    return (
        f"layers 0..{layers - 1} of {len(net.layers)} are in the file; not loaded: layer {layers} "
        f"[{first.section.name}] ({net.cfg_path}:{first.section.line}) and those after it"
    )


def _pack_header(version, seen):
    wide = 10 * version[0] + version[1] >= WIDE_SEEN
    limit = 2**64 if wide else 2**32
    if not 0 <= seen < limit:
        raise WeightsError(f"{seen} images seen do not fit a header of version {version}")
    return struct.pack("<iiiQ" if wide else "<iiiI", *version, seen)


def begin(file, path):
    """Header, and how many values follow it; the file stands at the first of them."""
    header = _unpack_header(file.read(64), path)
    file.seek(header.size)
    size = os.fstat(file.fileno()).st_size - header.size
    if size % 4:
        raise WeightsError(
            f"{path}: is cut off or damaged: {size} bytes after the header are no whole number of "
            "4-byte values"
        )
    return header, size // 4


def refuse_page(head, path):
    """Refuses a file whose first bytes are those of a web page or of a Git LFS pointer."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"{")):
        raise WeightsError(
            f"{path}: is a web page, not a .weights file; the download went wrong, often at a "
            "question to confirm"
        )
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path}: is a Git LFS pointer; fetch the file itself with `git lfs pull`"
        )


def _unpack_header(head, path):
    refuse_page(head, path)
    if len(head) < 16:
        raise WeightsError(
            f"{path}: has {len(head)} bytes, less than the header of a .weights file"
        )
    major, minor, revision = struct.unpack_from("<iii", head)
    if not (0 <= major <= 2 * TRANSPOSED and 0 <= minor <= 2 * TRANSPOSED and revision >= 0):
        raise WeightsError(
            f"{path}: is no .weights file: its header says version {major}.{minor}.{revision}"
        )
    wide = 10 * major + minor >= WIDE_SEEN
    if wide and len(head) < 20:
        raise WeightsError(f"{path}: is cut off within its header ({len(head)} bytes)")
    seen = struct.unpack_from("<Q" if wide else "<I", head, 12)[0]
    return Header((major, minor, revision), seen, 20 if wide else 16)


def _covered(net, layers, found, path, header, surplus):
    """How many of the layers the values fill; raises unless they end with a layer."""
    total = 0
    for number, layer in enumerate(layers):
        needed = sum(tensor.numel() for tensor in layer.loaded())
        if needed and total == found:
            return number
        if total + needed > found:
            raise WeightsError(_too_short(net, path, header, layer, total, needed, found))
        total += needed
    if found > total and not surplus:
        raise WeightsError(_too_long(net, path, header, total, found))
    return len(layers)


def _too_short(net, path, header, layer, before, needed, found):
    size, wanted = header.size + 4 * found, header.size + 4 * count(net)
    return (
        f"{path}: ends inside layer {layer.index} [{layer.section.name}] "
        f"({net.cfg_path}:{layer.section.line}), {found - before} of its {needed} values being "
        f"there: the file has {size} bytes, the network needs {wanted}. Either the file is cut off "
        f"or it belongs to another network (other classes, filters or layers)"
    )


def _ends_early(net, path, layer, covered):
    return (
        f"{path}: ends before layer {covered} [{layer.section.name}] "
        f"({net.cfg_path}:{layer.section.line}) and holds the layers before it alone, where "
        "all are asked for"
    )


def _too_long(net, path, header, total, found):
    size, wanted = header.size + 4 * found, header.size + 4 * total
    return (
        f"{path}: has {size} bytes, {size - wanted} more than {net.cfg_path} needs: it belongs to "
        f"another network (more classes, filters or layers). To take its first N layers alone, "
        f"give cutoff=N"
    )


def _split(layers, file, header):
    """(layer, tensor, its values in the tensor's shape) in file order."""
    for layer in layers:
        for tensor in layer.loaded():
            part, shape = np.fromfile(file, "<f4", tensor.numel()), tuple(tensor.shape)
            if header.transposed and len(shape) == 2:
                yield layer, tensor, part.reshape(shape[::-1]).T
            else:
                yield layer, tensor, part.reshape(shape)


def _check_values(layer, tensor, part, path):
    """Numbers that no training leaves mean that the file belongs to another network."""
    if not part.size:
        return
    # min and max carry every NaN and infinity, without a temporary array of the file's size
    low, high = part.min(), part.max()
    place = f"{path}: layer {layer.index} [{layer.section.name}]"
    if not np.isfinite([low, high]).all():
        raise WeightsError(
            f"{place} gets values that are not finite: the file is damaged, belongs to another "
            "network, or its training diverged"
        )
    if low < 0 and tensor is getattr(layer, "rolling_var", None):
        raise WeightsError(
            f"{place} gets a negative variance ({low:g}): the file belongs to another network"
        )

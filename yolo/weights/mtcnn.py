"""MTCNN's published values, arrays in an .npz file -> the networks of cfg/pnet.cfg, rnet.cfg and
onet.cfg.

    conv1.weight, conv1.bias, prelu1.weight, ...   trunk, layer after layer
    dense5_1, dense5_2, dense5_3                   face scores, edges, landmarks: one layer here

Two things differ. Theirs take (x - 127.5) / 128 of bytes, ours 0..1: the first convolution, which
has no padding, absorbs that. Theirs flatten a map in the order width, height, channels, ours in
the order channels, height, width: the columns of the first [connected] are put in that order.
"""

import re
import zipfile

import numpy as np
import torch

from .darknet import WeightsError, refuse_fused

SUFFIX = ".npz"
MAX_BYTES = 1 << 26  # unpacked; the largest of the three has 1.6 MB
MEAN, SCALE = 127.5, 128.0  # of their input


def load(net, path):
    """Fills the network; a WeightsError where arrays and layers differ, nothing being changed."""
    refuse_fused(net, "be loaded into")
    groups = _groups(read(path), path)
    layers = [layer for layer in net.layers if list(layer.stored())]
    if len(groups) != len(layers):
        raise WeightsError(
            f"{path}: holds {len(groups)} layers ({', '.join(groups)}), {net.cfg_path} has "
            f"{len(layers)} with values"
        )
    pairs = []
    for layer, (name, arrays) in zip(layers, groups.items(), strict=True):
        pairs += _fitted(net, layer, name, arrays, path)
    with torch.no_grad():
        for tensor, values in pairs:
            tensor.copy_(torch.from_numpy(values.astype(np.float32)))
    net.seen = net.iteration = 0


def read(path):
    """{name: float64 array} of an .npz file; nothing in it is run."""
    try:
        with zipfile.ZipFile(path) as file:
            size = sum(item.file_size for item in file.infolist())
        if size > MAX_BYTES:
            raise WeightsError(
                f"{path}: unpacks to {size} bytes; no more than {MAX_BYTES} are read"
            )
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, ValueError, EOFError, KeyError) as error:
        raise WeightsError(f"{path}: is no .npz file of arrays: {error}") from None
    for name, array in arrays.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise WeightsError(f"{path}: {name} holds other things than finite numbers")
    return {name: array.astype(np.float64) for name, array in arrays.items()}


def _groups(arrays, path):
    """{layer: {weight, bias}} in the order of the network; the heads' arrays lie one on another.

    Numbers in the names give the order, a prelu following the layer of its number."""
    found = {}
    for name, array in arrays.items():
        match = re.fullmatch(r"(conv|dense|prelu)(\d+)(?:_(\d+))?\.(weight|bias)", name)
        if match is None:
            raise WeightsError(
                f"{path}: {name} is no array of MTCNN; expected names such as conv1.weight"
            )
        kind, number, part, what = match.groups()
        place = int(number), kind == "prelu", kind + number
        found.setdefault(place, {}).setdefault(what, []).append((int(part or 0), array))
    groups = {}
    for (*_, layer), parts in sorted(found.items(), key=lambda item: item[0]):
        try:
            groups[layer] = {
                what: np.concatenate([array for _, array in sorted(listed, key=lambda p: p[0])])
                for what, listed in parts.items()
            }
        except ValueError as error:
            raise WeightsError(
                f"{path}: the parts of {layer} do not fit together: {error}"
            ) from None
    return groups


def _fitted(net, layer, name, arrays, path):
    """[(tensor of the layer, its values)]."""
    place = f"layer {layer.index} [{layer.section.name}] ({net.cfg_path}:{layer.section.line})"
    if name.startswith("prelu"):
        arrays = {"slope": arrays.get("weight")}
    names = [key for key in ("slope", "weight", "bias") if hasattr(layer, key)]
    if len(names) != len(list(layer.stored())):
        raise WeightsError(f"{path}: {place} has other values than weights and biases")
    fitted = []
    for key in names:
        tensor, array = getattr(layer, key), arrays.get(key)
        if array is None or array.shape != tuple(tensor.shape):
            has = "none" if array is None else array.shape
            raise WeightsError(
                f"{path}: {name} does not fit {place}: {key} {has}, expected {tuple(tensor.shape)}"
            )
        fitted.append((tensor, array))
    if layer.index == 0:
        return _from_unit_range(fitted)
    if len(fitted) == 2 and fitted[0][1].ndim == 2:
        fitted[0] = fitted[0][0], _channels_first(fitted[0][1], layer.in_shapes[0])
    return fitted


def _from_unit_range(fitted):
    """For inputs of 0..1 in place of (255 x - 127.5) / 128."""
    (weight, values), (bias, shift) = fitted
    total = values.reshape(len(values), -1).sum(1)
    return [(weight, values * (255 / SCALE)), (bias, shift - total * MEAN / SCALE)]


def _channels_first(weight, shape):
    """(outputs, W * H * C) -> (outputs, C * H * W)."""
    channels, height, width = shape
    mixed = weight.reshape(-1, width, height, channels)
    return mixed.transpose(0, 3, 2, 1).reshape(len(weight), -1)

"""Any bytes as any file: a result or a typed error, soon and within bounds."""

import io
import json
import tempfile
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

import yolo
from tests.fuzz.bounds import BUDGET, Beyond, bounded, corpus, damaged
from yolo import checkpoint, weights
from yolo.cfg import CfgWarning, parse
from yolo.data import image, labels
from yolo.data.check import look
from yolo.data.dataset import Dataset
from yolo.data.formats import coco, voc
from yolo.data.listing import read_list
from yolo.data.lists import DataFile, read_names
from yolo.errors import YoloError
from yolo.network import Network

SMALL = """[net]
width=32
height=32
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
stride=8
[convolutional]
filters=16
[yolo]
mask=0,1
anchors=10,14, 30,24
num=2
classes=3
"""


def read_cfg(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        yolo.load(path)


def read_weights(path):
    net = Network(parse(SMALL))
    before = [p.clone() for p in net.parameters()]
    try:
        weights.load(net, path)
    except YoloError:
        assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
        raise
    assert all(torch.isfinite(p).all() for p in net.parameters())


def read_labels(path):
    _, problems = labels.inspect(path, 80)
    boxes, _ = labels.read(path, 80)
    assert np.isfinite(boxes).all() and not any(p.fault for p in problems)


def read_lists(path):
    for reader in (read_list, DataFile.read):
        try:
            reader(path)
        except YoloError as error:
            str(error).encode()  # can be printed, whatever the bytes were
    read_names(path)


def read_image(path):
    pixels = image.read(path)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


def read_coco(path):
    coco.read(path)


def read_voc(path):
    found = voc.read(path.parent, names=None)
    assert all(np.isfinite(o.box).all() for p in found.pictures for o in p.objects)


def read_checkpoint(path):
    found = checkpoint.read(path)
    assert isinstance(found.state, dict)


# kind -> (reader, extension, megabytes that it may take)
READERS = {
    "cfg": (read_cfg, ".cfg", 2048),  # layers go up to 300 million parameters
    "weights": (read_weights, ".weights", 128),
    "labels": (read_labels, ".txt", 256),
    "lists": (read_lists, ".data", 256),
    "images": (read_image, ".img", 1024),  # 2^26 pixels decoded, and once more as RGB
    "coco": (read_coco, ".json", 256),
    "voc": (read_voc, ".xml", 256),
    "checkpoints": (read_checkpoint, ".ckpt", 256),
}


def attempt(kind, path):
    """Reads a file; gives the error's text, or None where it could be read."""
    reader, _, megabytes = READERS[kind]
    with bounded(megabytes):
        try:
            reader(path)
        except YoloError as error:
            text = str(error)
            text.encode()  # can be printed
            assert "MemoryError" not in text and "Insufficient memory" not in text
            return text
    return None


def any_file(kind, folder, data):
    path = folder / f"a{READERS[kind][1]}"
    path.write_bytes(data)
    attempt(kind, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("fuzz")
    (found / "a.jpg").write_bytes(encoded(".jpg"))
    return found


def encoded(extension, shape=(9, 11, 3), dtype=np.uint8):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    return cv2.imencode(extension, pixels)[1].tobytes()


@pytest.mark.parametrize(
    "kind, path", [(kind, path) for kind in READERS for path in corpus(kind)],
    ids=lambda value: getattr(value, "name", value),
)  # fmt: skip
def test_every_case_that_was_found(kind, path, tmp_path):
    """Names that begin with `good` can be read, those that begin with `bad` cannot."""
    copy = tmp_path / f"a{READERS[kind][1]}"
    copy.write_bytes(path.read_bytes())
    (tmp_path / "a.jpg").write_bytes(encoded(".jpg"))
    error = attempt(kind, copy)
    assert (error is None) == path.name.startswith("good"), error


def saved():
    file = io.BytesIO(b"\0\0\0\0\2\0\0\0\5\0\0\0" + b"\0" * 8)
    net = Network(parse(SMALL))
    file.seek(0, 2)
    file.write(np.ones(weights.count(net), "<f4").tobytes())
    return file.getvalue()


WHOLE = saved()
IMAGES = [
    *(encoded(e) for e in (".jpg", ".png", ".bmp", ".tiff", ".webp", ".ppm", ".gif")),
    encoded(".png", (9, 11), np.uint16),
    encoded(".tiff", (9, 11, 3), np.uint16),
    encoded(".png", (9, 11, 4)),
    b"P2 3 2 255 1 2 3 4 5 6 ",
    b"P1\n2 2\n1 0 0 1\n",
]
LABELS = [b"0 .5 .5 .2 .2\n1 0.25 0.75 0.1 1e-1\n", b"\xef\xbb\xbf79 1 1 1 1\r\n"]
LISTS = [b"classes=3\ntrain = a b.txt\nnames: n.names\n#x\n", "größe.jpg\nb;.png\r\n".encode()]
CFGS = [
    SMALL.encode(),
    b"[net]\nheight=8\nwidth=8\nchannels=1\n[conv]\n[shortcut]\nfrom=-1\n[route]\nlayers=-1,-2\n",
]
JSON = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 11}],
        "categories": [{"id": 3, "name": "x"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 12}
        ],
    }
).encode()
XML = b"""<annotation><filename>a.jpg</filename><size><width>9</width><height>11</height></size>
<object><name>x</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>4</xmax>
<ymax>6.5</ymax></bndbox></object></annotation>"""


def a_checkpoint():
    state = {"iteration": 3, "rates": [0.1, 0.2], "text": "größe"}
    tensors = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ckpt"
        checkpoint.write(path, checkpoint.Checkpoint(state, tensors))
        return path.read_bytes()


CHECKPOINT = a_checkpoint()
SEEDS = {
    "checkpoints": [CHECKPOINT],
    "cfg": CFGS,
    "weights": [WHOLE],
    "labels": LABELS,
    "lists": LISTS,
    "images": IMAGES,
    "coco": [JSON],
    "voc": [XML],
}


@pytest.mark.parametrize("kind", SEEDS)
def test_the_seeds_are_good(kind, tmp_path):
    for seed in SEEDS[kind]:
        path = tmp_path / f"a{READERS[kind][1]}"
        path.write_bytes(seed)
        (tmp_path / "a.jpg").write_bytes(IMAGES[0])
        assert attempt(kind, path) is None


@BUDGET
@given(data=st.binary(max_size=300) | damaged(CFGS))
def test_cfg(folder, data):
    any_file("cfg", folder, data)


@BUDGET
@given(data=st.binary(max_size=300) | damaged([WHOLE]))
def test_weights(folder, data):
    any_file("weights", folder, data)


@BUDGET
@given(data=st.binary(max_size=300) | damaged(LABELS))
def test_labels(folder, data):
    any_file("labels", folder, data)


@BUDGET
@given(data=st.binary(max_size=300) | damaged(LISTS))
def test_lists(folder, data):
    any_file("lists", folder, data)


@BUDGET
@given(data=damaged(IMAGES))
def test_images(folder, data):
    any_file("images", folder, data)
    dataset = Dataset([], 3)
    dataset.entries = read_list(_listing(folder))
    with bounded(READERS["images"][2]):
        assert len(look(dataset, 0).findings) >= 1  # no label file, at least


def _listing(folder):
    (folder / "list.txt").write_text(f"{folder / 'a.img'}\n")
    return folder / "list.txt"


ANY_JSON = st.sampled_from(
    [None, True, -1, 0, 2**70, 1e308, float("nan"), "", "\ud800", "\0", [], {}, [[1]], {"id": 1}]
)


@st.composite
def annotations(draw):
    """COCO annotations, some values replaced by anything that JSON can hold."""
    content = json.loads(JSON)
    for _ in range(draw(st.integers(1, 3))):
        entry = content[draw(st.sampled_from(sorted(content)))][0]
        entry[draw(st.sampled_from(sorted(entry)))] = draw(ANY_JSON)
    return json.dumps(content).encode()


@BUDGET
@given(data=annotations() | damaged([JSON]))
def test_coco(folder, data):
    any_file("coco", folder, data)


@BUDGET
@given(data=damaged([XML]))
def test_voc(folder, data):
    any_file("voc", folder, data)


def altered(metadata, tensors=None):
    """A safetensors file with a metadata of one's own and a digest that fits."""
    tensors = {"a": torch.ones(2)} if tensors is None else tensors
    if "state" in metadata:
        metadata["digest"] = checkpoint.digest(metadata["state"], tensors)
    return save(tensors, metadata)


STATES = ["", "[]", "1", "[[1, 2]]", "{}", '{"format": 1}', '{"format": NaN}', "[" * 5000]
DISGUISED = st.sampled_from(STATES).map(lambda state: altered({"state": state}))


@BUDGET
@given(data=damaged([CHECKPOINT]) | st.binary(max_size=100) | DISGUISED)
def test_checkpoints(folder, data):
    any_file("checkpoints", folder, data)


def test_a_checkpoint_with_one_bit_changed_is_never_read(folder):
    for at in range(len(CHECKPOINT)):
        data = bytearray(CHECKPOINT)
        data[at] ^= 1 << at % 8
        path = folder / "a.ckpt"
        path.write_bytes(data)
        assert attempt("checkpoints", path) is not None, at


def test_the_bounds_hold():
    with pytest.raises(Beyond), bounded(64, seconds=0.1):
        while True:
            pass
    with pytest.raises(MemoryError), bounded(64):
        bytearray(256 << 20)
    assert len(bytearray(256 << 20))

"""Prediction: decoding against a scalar reference, sources, letterbox, what is kept, and real
photographs with the detections of a Darknet run."""

import copy
import gc
import json
import math
import os
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import yolo
from yolo import weights
from yolo.boxes import iou
from yolo.cfg import parse
from yolo.data import sources
from yolo.data.image import ImageError, letterbox, stretched
from yolo.network import Network
from yolo.ops import backend
from yolo.predict import Candidates, decode, detect, inference, predict

pytestmark = pytest.mark.usefixtures("one_thread")

MICRO = """
[net]
batch=1
width=64
height=32
channels=3
letter_box={letter_box}

[convolutional]
batch_normalize=1
filters=8
size=3
stride=8
pad=1
activation=leaky

[convolutional]
filters=21
size=1
activation={activation}

[yolo]
mask=1,2,0
anchors=6,9, 20,11, 14,30
num=3
classes={classes}
scale_x_y={scale}
new_coords={new_coords}

[route]
layers=0

[maxpool]
size=2
stride=2

[convolutional]
filters=7
size=1
activation={activation}

[yolo]
mask=2
anchors=6,9, 20,11, 14,30
num=3
classes=2
new_coords={new_coords}
nms_kind={nms}
"""


def micro(seed=0, scale=1.0, new_coords=0, letter_box=0, nms="default", classes=2):
    text = MICRO.format(
        activation="logistic" if new_coords else "linear",
        scale=scale,
        new_coords=new_coords,
        letter_box=letter_box,
        nms=nms,
        classes=classes,
    )
    net = Network(parse(text.replace("filters=21", f"filters={3 * (classes + 5)}")), seed=seed)
    for layer in net.layers:
        if hasattr(layer, "rolling_var"):
            layer.rolling_var.fill_(1)
    return net.eval()


def picture(height=48, width=60, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def same(a, b, **close):
    np.testing.assert_allclose(a.boxes_xyxy, b.boxes_xyxy, **(close or {"rtol": 0, "atol": 0}))
    np.testing.assert_allclose(a.scores, b.scores, **(close or {"rtol": 0, "atol": 0}))
    np.testing.assert_array_equal(a.classes, b.classes)


# ---- decoding ----


def scalar_decode(net, outputs, image, thresh):
    """[(x, y, w, h), [probability of each class]] cell by cell, in Python's own arithmetic."""
    found = []
    for layer, output in zip([net.layers[i] for i in net.heads], outputs, strict=True):
        values = output[image].tolist()
        rows, cols = len(values[0]), len(values[0][0])
        for row in range(rows):
            for col in range(cols):
                for k, anchor in enumerate(layer.mask):
                    tx, ty, tw, th, objectness, *classes = (
                        values[k * (5 + layer.classes) + e][row][col]
                        for e in range(5 + layer.classes)
                    )
                    if not objectness > thresh:
                        continue
                    aw, ah = layer.anchors[anchor]
                    if layer.new_coords:
                        w, h = 4 * tw * tw * aw, 4 * th * th * ah
                    else:
                        w, h = math.exp(tw) * aw, math.exp(th) * ah
                    probs = [objectness * p if objectness * p > thresh else 0 for p in classes]
                    box = ((col + tx) / cols, (row + ty) / rows, w / 64, h / 32)
                    if any(probs):
                        found.append((box, probs))
    return found


@pytest.mark.parametrize("new_coords", [0, 1])
@pytest.mark.parametrize("thresh", [0.25, 0.1, 0.5])
def test_decoding_equals_the_scalar_formula(new_coords, thresh):
    net = micro(new_coords=new_coords, scale=1.2)
    x = [2 * torch.randn(3, *net.layers[index].out_shape) for index in net.heads]
    outputs = [net.layers[i].activate(v.sigmoid() if new_coords else v)
               for i, v in zip(net.heads, x, strict=True)]  # fmt: skip
    for image, found in enumerate(decode(net, outputs, thresh)):
        boxes, probs = zip(*scalar_decode(net, outputs, image, thresh), strict=True)
        torch.testing.assert_close(found.boxes_xywh, torch.tensor(boxes), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.probs, torch.tensor(probs), rtol=1e-5, atol=1e-6)


def planted(net, head=0, anchor=0, row=1, col=2, **values):
    """Outputs of the heads with nothing found, but for one box."""
    outputs = [torch.zeros(1, *net.layers[index].out_shape) for index in net.heads]
    entries = ("x", "y", "w", "h", "objectness", "class0", "class1")
    for name, value in values.items():
        outputs[head][0, anchor * 7 + entries.index(name), row, col] = value
    return outputs


def test_thresholds_are_strict():
    net = micro()
    half = {"objectness": 0.5, "class0": 0.5}
    assert len(decode(net, planted(net, **half), 0.25)[0].probs) == 0  # 0.25 is not above
    assert len(decode(net, planted(net, **half), 0.2499)[0].probs) == 1
    assert len(decode(net, planted(net, objectness=0.5, class0=1.0), 0.5)[0].probs) == 0


def test_what_is_not_finite_is_never_found():
    net = micro()
    for values in (
        {"objectness": math.nan, "class0": 1.0},
        {"objectness": 0.9, "class0": math.nan},
        {"objectness": 0.9, "class0": 0.9, "w": 1000.0},  # exp overflows
        {"objectness": 0.9, "class0": 0.9, "x": math.nan},
    ):
        assert len(decode(net, planted(net, **values), 0.25)[0].probs) == 0, values


def test_one_box_with_two_classes_is_two_entries():
    probs = torch.tensor([[0.6, 0.4], [0.0, 0.9]])
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.1, 0.2, 0.2, 0.2]])
    found = Candidates(boxes, probs).detections((50, 100), ["a", "b"], "p.jpg")
    assert found.labels.tolist() == ["b", "a", "b"]
    np.testing.assert_allclose(found.boxes_xyxy[1], [40, 15, 60, 35], rtol=1e-6)
    np.testing.assert_array_equal(found.boxes_xyxy[1], found.boxes_xyxy[2])
    assert found.path == "p.jpg" and found.image_size == (50, 100)


def test_the_last_head_chooses_the_suppression():
    outputs = {"anchor": 0, "objectness": 0.9, "class0": 0.9}
    for nms, left in (("default", 1), ("diounms", 2)):
        net = micro(nms=nms)
        net.layers[-1].beta_nms = 1e-3  # distance counts fully: nothing is suppressed
        both = planted(net, **outputs, row=1)
        both[0][0, 0:7, 1, 3] = both[0][0, 0:7, 1, 2]
        both[0][0, 0:4, 1, 3] = torch.tensor([-0.9, 0.0, 0.0, 0.0])  # nearly the same place
        found = detect(net, lambda x, both=both: both, torch.zeros(1, 3, 32, 64),
                       [stretched(32, 64)], 0.25, 0.45)  # fmt: skip
        assert len(found[0].probs) == left, nms


# ---- images ----


def test_every_kind_of_source_gives_the_same(tmp_path):
    net, image = micro(), picture()
    path = tmp_path / "p.png"
    cv2.imwrite(str(path), image[:, :, ::-1])
    plain = net.predict(image, thresh=0.1)
    assert len(plain) > 3 and plain.path is None and plain.image_size == (48, 60)
    for source in (path, str(path)):
        found = net.predict(source, thresh=0.1)
        same(found, plain)
        assert found.path == str(path)
    same(net.predict(image[:, :, ::-1], thresh=0.1, bgr=True), plain)
    chw = torch.from_numpy(image).permute(2, 0, 1)
    same(net.predict(chw, thresh=0.1), plain)
    same(net.predict(chw / 255, thresh=0.1), plain, rtol=1e-4, atol=1e-4)
    alpha = np.concatenate([image, image[:, :, :1]], 2)
    same(net.predict(alpha, thresh=0.1), plain)


def test_lists_and_batches_give_what_single_images_give():
    net = micro()
    images = [picture(48, 60, 0), picture(90, 20, 1), picture(32, 64, 2)]
    single = [net.predict(image, thresh=0.1) for image in images]
    for batch in (1, 2, 3, 8):
        several = net.predict(images, thresh=0.1, batch=batch)
        assert isinstance(several, list) and len(several) == 3
        for a, b in zip(several, single, strict=True):
            same(a, b, rtol=1e-5, atol=1e-4)
    assert net.predict([]) == []
    assert len(net.predict(iter(images), batch=2)) == 3
    assert len(net.predict(np.stack([images[0]] * 2))) == 2
    assert len(net.predict(torch.rand(2, 3, 32, 64))) == 2


@pytest.fixture
def folder(tmp_path):
    """Three pictures as files a.png, b.png, c.png."""
    for seed, name in enumerate("abc"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture(seed=seed)[:, :, ::-1])
    return tmp_path


def test_folders_and_patterns_are_lists_of_their_images(folder):
    net = micro()
    wanted = [net.predict(picture(seed=seed), thresh=0.1) for seed in range(3)]
    paths = [str(folder / f"{name}.png") for name in "abc"]
    for source in (folder, str(folder / "*.png"), [folder], [paths[0], str(folder / "[bc].png")]):
        found = net.predict(source, thresh=0.1, batch=2)
        assert [f.path for f in found] == paths
        for a, b in zip(found, wanted, strict=True):
            same(a, b, rtol=1e-5, atol=1e-4)
    (folder / "b.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"b\.png"):
        net.predict(folder)


def test_a_video_is_a_list_of_its_frames(tmp_path):
    net, path = micro(), str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 32))
    for seed in range(3):
        writer.write(cv2.resize(picture(8, 16, seed), (64, 32)))
    writer.release()
    found = net.predict(path, thresh=0.1)
    reader = cv2.VideoCapture(path)
    for a in found:
        same(a, net.predict(reader.read()[1], thresh=0.1, bgr=True))
    assert len(found) == 3 and not reader.read()[0]
    assert len(net.predict([path, picture()])) == 4


def test_pil_images_are_read_as_files_are(tmp_path):
    from PIL import Image

    net, path = micro(), tmp_path / "turned.png"
    whole = Image.fromarray(picture())
    palette = whole.quantize(8)
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    for image in (whole, palette, whole.convert("L"), whole.convert("RGBA")):
        image.save(path, exif=turned)
        with Image.open(path) as opened:
            found = net.predict(opened, thresh=0.1, bgr=True)
        assert found.image_size == (60, 48)
        same(found, net.predict(path, thresh=0.1))
    with pytest.raises(ValueError, match="mode I;16"):
        net.predict(Image.new("I;16", (4, 4)))


def test_a_stream_holds_no_more_than_a_batch(folder, monkeypatch):
    net, known, alive = micro(), [], []

    def read(path):
        known.append(weakref.ref(image := picture(seed=len(known) % 3)))
        alive.append(sum(ref() is not None for ref in known))
        return image

    monkeypatch.setattr(sources, "read", read)
    stream = net.predict([folder] * 6, thresh=0.1, batch=4, stream=True)
    assert not known
    first = next(stream)
    assert len(known) == 4  # no more than needed is read
    found = [first, *stream]
    assert len(found) == 18 and max(alive) <= 5  # a batch, and the one that is being read
    same(found[16], net.predict(picture(seed=1), thresh=0.1), rtol=1e-5, atol=1e-4)
    assert len(list(net.predict(picture(), stream=True))) == 1


def test_grey_arrays_are_three_equal_channels():
    net, grey = micro(), picture()[:, :, 0]
    same(net.predict(grey, thresh=0.1), net.predict(np.dstack([grey] * 3), thresh=0.1))


def test_a_float_tensor_of_the_input_size_is_used_as_it_is():
    net, x = micro(), torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        wanted = decode(net, net(x), 0.1)[0].suppressed(0.45).detections((32, 64))
    same(net.predict(x[0], thresh=0.1), wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "source, error, message",
    [
        (np.zeros((4, 4, 3)), ValueError, r"float64 \(4, 4, 3\), expected uint8"),
        (np.zeros((4, 4, 2), np.uint8), ValueError, r"shape \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"\(0, 4, 3\)"),
        (torch.zeros(3, 4), ValueError, r"tensor has shape \(3, 4\)"),
        (torch.zeros(1, 4, 4), ValueError, r"\(4, 4, 1\), expected \(H, W, 3\)"),
        (torch.full((3, 4, 4), 2.0), ValueError, "2 to 2, expected 0 to 1"),
        (torch.full((3, 4, 4), math.nan), ValueError, "expected 0 to 1"),
        (torch.zeros((3, 4, 4), dtype=torch.int32), ValueError, "int32"),
        (-7, TypeError, "int"),
        (7, ValueError, "stream=True"),
        ([7], TypeError, "a camera is a source by itself"),
    ],
)
def test_unusable_sources_are_named(source, error, message):
    with pytest.raises(error, match=message):
        micro().predict(source)


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"thresh is 1\.5"):
        micro().predict(picture(), thresh=1.5)
    with pytest.raises(ValueError, match="nms is nan"):
        micro().predict(picture(), nms=math.nan)
    with pytest.raises(ValueError, match=r"classes: \[2, 3\]"):
        micro(classes=3).predict(picture())


# ---- letterbox ----


@pytest.mark.parametrize("size", [(48, 60), (33, 100), (100, 33), (7, 9), (31, 61)])
def test_a_letterbox_is_undone_to_the_pixel(size):
    """A box planted where the image's corner lies on the input comes back as that corner."""
    net = micro()
    _, place = letterbox(picture(*size), 32, 64)
    rows, cols = net.layers[net.heads[0]].out_shape[1:]
    left, top = (place.left + 0.5) / 64, (place.top + 0.5) / 32
    outputs = planted(net, row=int(top * rows), col=int(left * cols), x=left * cols % 1,
                      y=top * rows % 1, objectness=0.9, class0=0.9)  # fmt: skip
    found = detect(net, lambda x: outputs, torch.zeros(1, 3, 32, 64), [place], 0.25, 0.45)[0]
    x, y = (found.boxes_xywh[0, :2] * torch.tensor([place.new_width, place.new_height])).tolist()
    assert abs(x - 0.5) < 1e-4 and abs(y - 0.5) < 1e-4
    anchor_w, anchor_h = net.layers[net.heads[0]].anchors[1]
    wanted = torch.tensor([anchor_w / place.new_width, anchor_h / place.new_height])
    torch.testing.assert_close(found.boxes_xywh[0, 2:], wanted)


def test_letterbox_follows_the_cfg_unless_told():
    image = picture(100, 40)
    stretch, boxed = micro(), micro(letter_box=1)
    same(stretch.predict(image, letterbox=True, thresh=0.1), boxed.predict(image, thresh=0.1))
    same(stretch.predict(image, thresh=0.1), boxed.predict(image, letterbox=False, thresh=0.1))
    assert not np.array_equal(
        stretch.predict(image, thresh=0.1).boxes_xyxy, boxed.predict(image, thresh=0.1).boxes_xyxy
    )


# ---- what is kept between predictions ----


def test_the_compiled_copy_is_kept_until_a_tensor_changes():
    net, image = micro(), picture()
    first, run = net.predict(image, thresh=0.1), inference(net)
    assert inference(net) is run
    with torch.no_grad():
        net.layers[0].weight.mul_(-1)
    assert inference(net) is not run
    changed = net.predict(image, thresh=0.1)
    assert not np.array_equal(changed.scores, first.scores)
    with torch.no_grad():
        net.layers[0].weight.mul_(-1)
    same(net.predict(image, thresh=0.1), first)


def test_statistics_weights_files_and_sizes_are_noticed(tmp_path):
    net, image = micro(), picture()
    first = net.predict(image, thresh=0.1)
    weights.save(micro(seed=1), tmp_path / "other.weights")
    weights.load(net, tmp_path / "other.weights")
    loaded = net.predict(image, thresh=0.1)
    same(loaded, micro(seed=1).predict(image, thresh=0.1))
    assert len(loaded) != len(first) or not np.array_equal(loaded.scores, first.scores)
    net.train()(torch.rand(2, 3, 32, 64))  # moves the rolling statistics, through our kernel
    net.eval()
    moved = net.predict(image, thresh=0.1)
    same(moved, copy.deepcopy(net).predict(image, thresh=0.1))
    net.resize(64, 64)
    same(net.predict(image, thresh=0.1), copy.deepcopy(net).predict(image, thresh=0.1))


def test_a_network_in_training_predicts_as_in_evaluation_and_stays_so():
    net, image = micro(), picture()
    wanted = net.predict(image, thresh=0.1)
    before = [t.clone() for t in net.state_dict().values()]
    net.train()
    same(net.predict(image, thresh=0.1), wanted)
    assert net.training
    torch.testing.assert_close(list(net.state_dict().values()), before, rtol=0, atol=0)


def test_the_twin_is_used_where_it_is_chosen_and_agrees():
    net, image = micro(), picture()
    native, run = net.predict(image, thresh=0.1), inference(net)
    with backend("torch"):
        assert inference(net) is not run
        same(net.predict(image, thresh=0.1), native, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["native", "torch"])
def test_eight_threads_on_one_network_find_what_one_does(name):
    net, images = micro(), [picture(30 + i, 40, i) for i in range(40)]

    def look(image):
        with backend(name):
            return net.predict(image, thresh=0.1)

    wanted = [look(image) for image in images]
    with torch.no_grad():
        net.layers[0].bias.mul_(1)  # counts as a change: the threads meet while compiling
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for a, b in zip(pool.map(look, images), wanted, strict=True):
                same(a, b)


def test_threads_with_batches_of_their_own_agree():
    net, images = micro(), [picture(30 + i, 40, i) for i in range(12)]
    wanted = [net.predict(image, thresh=0.1) for image in images]
    with ThreadPoolExecutor(8) as pool:
        several = pool.map(
            lambda batch: net.predict(images, thresh=0.1, batch=batch), [1, 2, 3, 4] * 4
        )
        for found in several:
            for a, b in zip(found, wanted, strict=True):
                same(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["native", "torch"])
def test_surroundings_make_no_difference(name):
    net, image = micro(), picture()
    with backend(name):
        with torch.inference_mode():  # what is compiled here serves the others
            wanted = net.predict(image, thresh=0.1)
        for around in (torch.enable_grad(), torch.no_grad(), torch.inference_mode(),
                       torch.autocast("cpu", torch.bfloat16)):  # fmt: skip
            with around:
                same(net.predict(image, thresh=0.1), wanted)
    assert torch.is_grad_enabled() and not net.training


def test_a_network_that_is_gone_leaves_nothing_behind():
    for make in (micro, lambda: micro().fused()):
        net = make()
        net.predict(picture())
        gone = weakref.ref(net)
        del net
        gc.collect()
        assert gone() is None


def resident():
    """Bytes of memory that this process occupies."""
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("resident memory is read from /proc, which this system lacks")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def soak(count):
    net, images = micro(), [picture(20 + i, 30 + 2 * i, i) for i in range(10)]
    for i in range(60):
        net.predict(images[i % 10], thresh=0.05)
    gc.collect()
    before = resident()
    for i in range(count):
        net.predict(images[i % 10], thresh=0.05)
    gc.collect()
    return resident() - before


def test_memory_stays_flat():
    assert soak(300) < 4e6


@pytest.mark.long
def test_memory_stays_flat_over_ten_thousand_predictions():
    assert soak(10_000) < 4e6


# ---- real photographs ----


@pytest.mark.parametrize("model", ["yolo-fastest-1.1", "yolo-fastest-1.1-xl"])
def test_photographs_give_what_darknet_found(shared, model):
    folder = shared / "data"
    net = yolo.load(*(folder / "weights" / f"{model}.{kind}" for kind in ("cfg", "weights")))
    reference = json.loads((folder / "photos/reference" / f"{model}.json").read_text())
    for frame in reference:
        path = folder / "photos" / frame["filename"]
        ours = net.predict(path, thresh=0.1).darknet_json()["objects"]
        wanted = [entry for entry in frame["objects"] if entry["confidence"] >= 0.25]
        # JPEG decoders differ in a grey level here and there; PNG pixels are the same.
        limit = 1e-4 if path.suffix == ".png" else 0.01
        pairs = [paired(entry, ours) for entry in wanted]
        assert len(set(pairs)) == len(wanted), frame["filename"]
        for entry, index in zip(wanted, pairs, strict=True):
            assert overlap(entry, ours[index]) >= 0.99
            assert abs(entry["confidence"] - ours[index]["confidence"]) <= limit
        others = [e for i, e in enumerate(ours) if i not in pairs and e["confidence"] > 0.26]
        assert not others, frame["filename"]


def paired(entry, candidates):
    """Index of the candidate of the same class that overlaps most."""
    return max(
        (i for i, c in enumerate(candidates) if c["class_id"] == entry["class_id"]),
        key=lambda i: overlap(entry, candidates[i]),
    )


def overlap(a, b):
    keys = ("center_x", "center_y", "width", "height")
    boxes = [torch.tensor([e["relative_coordinates"][k] for k in keys]) for e in (a, b)]
    return float(iou(*boxes))


def test_predict_is_the_method():
    net, image = micro(), picture()
    same(predict(net, image, thresh=0.1), net.predict(image, thresh=0.1))

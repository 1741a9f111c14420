"""What can be predicted on: images of every kind, lists, folders, videos, streams; what cannot."""

import math
import weakref

import cv2
import numpy as np
import pytest
import torch

from tests.predict.two_heads import micro, picture, same
from yolo.data import sources
from yolo.data.image import ImageError
from yolo.predict import decode, predict


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


def test_predict_is_the_method():
    net, image = micro(), picture()
    same(predict(net, image, thresh=0.1), net.predict(image, thresh=0.1))

"""The command line as a user meets it: exit codes, one-line errors, files."""

import csv
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo import cfg
from yolo.__main__ import main
from yolo.cfg import CfgError
from yolo.classify import classes_of
from yolo.commands.flags import PRECISIONS
from yolo.job import detector_classes
from yolo.job.changes import set_classes
from yolo.network import Network
from yolo.ops.precision import WORDS

pytestmark = pytest.mark.usefixtures("few_drawn", "no_chart")

MICRO = """
[net]
batch=4
subdivisions=2
width=64
height=64
channels=3
learning_rate=0.001
max_batches=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=4
pad=1
activation=leaky

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=mish

[convolutional]
filters=16
size=1
activation=linear

[yolo]
mask=0,1
anchors=16,16, 32,32
num=2
classes=3
"""


@pytest.fixture
def micro(tmp_path):
    path = tmp_path / "micro.cfg"
    path.write_text(MICRO)
    return path


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """Folder with the results of three iterations on drawn shapes; nobody writes there."""
    folder = tmp_path_factory.mktemp("training")
    (folder / "micro.cfg").write_text(MICRO)
    flags = ["--out", str(folder / "out"), "--workers", "0"]
    assert main(["train", str(folder / "micro.cfg"), *flags]) == 0
    return folder / "out"


@pytest.fixture
def trained(training, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(training, tmp_path / "out"))


@pytest.fixture
def images(tmp_path):
    """Two pictures of noise and a file that is none."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg"):
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 255, (50, 70, 3), np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    return tmp_path


def error_line(capsys):
    """The one line on stderr."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_train_leaves_cfg_names_weights_metrics_and_chart(training):
    names = {p.name for p in training.iterdir()}
    assert {
        "micro.cfg",
        "micro.names",
        "micro_final.weights",
        "metrics.csv",
        "chart.png",
        "detections.jpg",
    } <= names
    rows = list(csv.DictReader((training / "metrics.csv").open()))
    assert [int(row["iteration"]) for row in rows] == [1, 2, 3]
    assert all(np.isfinite(float(row["loss"])) for row in rows)


def test_train_continues_from_weights(micro, trained, tmp_path):
    weights = str(trained / "micro_final.weights")
    flags = ["--weights", weights, "--iterations", "5", "--workers", "0"]
    assert main(["train", str(micro), "--out", str(trained), *flags]) == 0
    rows = list(csv.DictReader((trained / "metrics.csv").open()))
    assert [int(row["iteration"]) for row in rows] == [1, 2, 3, 4, 5]


def test_train_with_classes_writes_the_cfg_it_trained(micro, tmp_path):
    out = tmp_path / "seven"
    flags = ["--classes", "7", "--width", "96", "--iterations", "1", "--workers", "0"]
    assert main(["train", str(micro), "--out", str(out), *flags]) == 0
    text = (out / "micro.cfg").read_text()
    assert "classes=7" in text and "filters=24" in text and "width=96" in text
    assert len((out / "micro.names").read_text().splitlines()) == 7
    assert main(["summary", str(out / "micro.cfg")]) == 0


@pytest.mark.parametrize("name", ["darknet19", "resnet50", "alexnet", "bp"])
def test_classes_of_a_classifier(name, cfg_folder):
    sections = cfg.read(cfg_folder / f"{name}.cfg")
    set_classes(sections, 7)
    assert classes_of(Network(sections)) == 7


@pytest.mark.parametrize("name", ["yolov3-tiny", "faster-rcnn-tiny"])
def test_classes_of_a_detector(name, cfg_folder):
    sections = cfg.read(cfg_folder / f"{name}.cfg")
    set_classes(sections, 7)
    assert detector_classes(Network(sections)) == 7


def test_classes_of_a_network_without_a_loss_are_refused(micro):
    with pytest.raises(CfgError, match=r"ends in no \[yolo\], \[softmax\] or \[cost\]"):
        set_classes(cfg.read(micro)[:-1], 7)


def test_train_sets_net_keys_and_fits_anchors(micro, images, capsys):
    (images / "a.txt").write_text("1 0.5 0.5 0.25 0.5\n0 0.5 0.5 0.75 0.75\n")
    (images / "list.txt").write_text("a.png\nb.jpg\n")
    (images / "set.data").write_text("classes=3\ntrain=list.txt\n")
    flags = ["--data", str(images / "set.data"), "--set", "burn_in=7", "--anchors"]
    out = str(images / "out")
    assert (
        main(["train", str(micro), *flags, "--iterations", "1", "--workers", "0", "--out", out])
        == 0
    )
    text = (images / "out" / "micro.cfg").read_text()
    assert "burn_in=7" in text and "anchors=16,32, 48,48" in text
    assert "average IoU 100.0 %" in capsys.readouterr().out


def test_training_that_is_already_done_says_so(micro, trained, capsys):
    capsys.readouterr()
    weights = str(trained / "micro_final.weights")
    assert main(["train", str(micro), "--weights", weights, "--out", str(trained)]) == 1
    assert "--clear" in error_line(capsys)


def test_images_without_labels_are_counted(micro, images, capsys):
    (images / "a.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    (images / "list.txt").write_text("a.png\nb.jpg\n")
    (images / "set.data").write_text("classes=3\ntrain=list.txt\n")
    flags = ["--data", str(images / "set.data"), "--workers", "0", "--out", str(images / "out")]
    assert main(["train", str(micro), *flags]) == 0
    assert "1 images without a label file were taken as empty, 0 broken" in capsys.readouterr().out


def test_data_with_another_number_of_classes_is_refused(micro, images, capsys):
    (images / "list.txt").write_text("a.png\n")
    (images / "set.data").write_text("classes=5\ntrain=list.txt\n")
    assert main(["train", str(micro), "--data", str(images / "set.data")]) == 1
    assert "--classes 5" in error_line(capsys)


def test_training_is_reproducible(micro, tmp_path):
    for name, workers in (("one", "0"), ("two", "2")):
        out = str(tmp_path / name)
        assert main(["train", str(micro), "--out", out, "--workers", workers]) == 0
    one, two = ((tmp_path / n / "micro_final.weights").read_bytes() for n in ("one", "two"))
    assert one == two


def test_detect_draws_writes_json_and_goes_on_after_a_broken_image(micro, trained, images, capsys):
    sources = [str(images / n) for n in ("a.png", "broken.jpg", "b.jpg")]
    out, json_path = images / "found", images / "found.json"
    flags = ["--out", str(out), "--json", str(json_path), "--thresh", "0.01"]
    capsys.readouterr()
    code = main(["detect", str(micro), str(trained / "micro_final.weights"), *sources, *flags])
    assert code == 1
    assert "broken.jpg" in error_line(capsys)
    assert {p.name for p in out.iterdir()} == {"a.jpg", "b.jpg"}
    content = json.loads(json_path.read_text())
    assert [image["filename"] for image in content] == [sources[0], sources[2]]


def test_map_on_a_list(micro, trained, images, capsys):
    (images / "a.txt").write_text("1 0.5 0.5 0.4 0.4\n")
    (images / "list.txt").write_text("a.png\r\nb.jpg\r\n")
    (images / "set.names").write_text("x\ny\nz\n")
    (images / "set.data").write_text("classes=3\nvalid=list.txt\nnames=set.names\n")
    flags = ["--data", str(images / "set.data"), "--json", str(images / "map.json")]
    assert main(["map", str(micro), str(trained / "micro_final.weights"), *flags]) == 0
    result = json.loads((images / "map.json").read_text())
    assert 0 <= result["map"] <= 1 and len(result["ap"]) == 3
    assert "mean average precision" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["train"], ["detect", "a", "b", "c", "--thresh", "2"]]
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_bad_input_is_one_line_and_exit_1(micro, tmp_path, capsys):
    (tmp_path / "bad.cfg").write_text("[net]\nwidth=64\nheight=64\nchannels=3\n[convolutionel]\n")
    (tmp_path / "short.weights").write_bytes(b"\0" * 30)
    (tmp_path / "gone.txt").write_text("gone.png\n")
    (tmp_path / "gone.data").write_text("classes=3\ntrain=gone.txt\n")
    data = ["--data", str(tmp_path / "gone.data")]
    cases = [
        (["summary", str(tmp_path / "none.cfg")], "/none.cfg: No such file or directory"),
        (
            ["train", str(micro), "--set", "burnin=7"],
            "has no key 'burnin'; did you mean 'burn_in'?",
        ),
        (["train", str(micro), *data], "1 of 1 images looked at are broken; the first: "),
        (["anchors", data[1], "--cfg", str(micro)], "none of 1 images has a box; "),
        (["plot", str(micro), "--out", "a.png"], "--what graph is written as .svg"),
        (["summary", str(tmp_path / "bad.cfg")], "bad.cfg:5"),
        (["detect", str(micro), str(tmp_path / "short.weights"), "a.jpg"], "short.weights"),
        (["train", str(micro), "--data", str(tmp_path / "none.data")], "none.data"),
    ]
    for arguments, expected in cases:
        assert main(arguments) == 1
        assert expected in (line := error_line(capsys)) and "Errno" not in line


def test_precision_must_be_one_of_the_device(micro, capsys):
    assert set(PRECISIONS) == {word for device in WORDS.values() for word in device}
    for command in (["train", str(micro)], ["detect", str(micro), "w", "a.jpg"]):
        assert main([*command, "--precision", "tf32"]) == 1
        assert re.search("precision tf32: cpu (trains in|computes)", error_line(capsys))


def test_summary_with_the_plan_of_kernels(micro, capsys):
    assert main(["summary", str(micro), "--plan"]) == 0
    assert "precision fast" in capsys.readouterr().out


def test_summary_with_the_kernels_of_training(micro, capsys):
    assert main(["summary", str(micro), "--plan", "training"]) == 0
    assert "grad_weight" in capsys.readouterr().out


def test_summary_as_json(micro, capsys):
    assert main(["summary", str(micro), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["parameters"] > 0 and len(content["layers"]) == 4


HEADS = {"region": (12, "2.0000,4.0000, 6.0000,6.0000"), "Gaussian_yolo": (20, "16,32, 48,48")}


@pytest.mark.parametrize("kind", HEADS)
def test_classes_and_anchors_of_other_heads(kind, micro, images, capsys):
    """Of two anchors, for one class; [region] counts in cells of 8 pixels."""
    filters, anchors = HEADS[kind]
    text = micro.read_text().replace("[yolo]", f"[{kind}]")
    micro.write_text(text.replace("mask=0,1\n", "") if kind == "region" else text)
    (images / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n0 0.5 0.5 0.75 0.75\n")
    (images / "list.txt").write_text("a.png\nb.jpg\n")
    (images / "set.data").write_text("classes=1\ntrain=list.txt\n")
    flags = ["--data", str(images / "set.data"), "--classes", "1", "--anchors", "--workers", "0"]
    size = ["--width", "64", "--height", "64", "--iterations", "1"]
    assert main(["train", str(micro), *flags, *size, "--out", str(images / "out")]) == 0
    written = (images / "out" / "micro.cfg").read_text()
    assert f"filters={filters}" in written and f"anchors={anchors}" in written
    capsys.readouterr()
    assert main(["summary", str(images / "out" / "micro.cfg"), "--strict"]) == 0


def test_classes_of_a_detection_head_are_refused(micro, capsys):
    text = micro.read_text()
    micro.write_text(text[: text.index("[yolo]")] + "[detection]\nclasses=3\ncoords=4\nside=3\n")
    assert main(["train", str(micro), "--classes", "5"]) == 1
    assert re.search(r"micro.cfg:\d+: \[detection\] --classes: .*5 \* num", error_line(capsys))


def test_too_few_names_are_refused(micro, trained, images, capsys):
    (images / "two.names").write_text("a\nb\n")
    flags = ["--names", str(images / "two.names"), "--out", str(images / "found")]
    network = [str(micro), str(trained / "micro_final.weights")]
    capsys.readouterr()
    assert main(["detect", *network, str(images / "a.png"), *flags]) == 1
    assert "two.names: 2 names, but the network has 3 classes" in error_line(capsys)


@pytest.mark.parametrize("text", ["1.5", "x", "", "0"])
def test_numbers_of_flags_are_explained(text, micro, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", str(micro), "--iterations", text])
    assert f"expected an integer of at least 1, got {text}" in capsys.readouterr().err

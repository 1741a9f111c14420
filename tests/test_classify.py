"""Classifiers: what they see, what they guess, how they are measured and trained."""

import json
import re

import cv2
import numpy as np
import pytest
import torch

import yolo
from yolo.__main__ import main
from yolo.cfg import CfgError, parse
from yolo.classify import check_classifier, classes_of, guesses, measure, surest
from yolo.data.image import ImageError, centred, stretch
from yolo.data.sample import Sample
from yolo.network import Network

TINY = """[net]
width=48
height=48
channels=3
batch=20
max_batches=60
min_crop=48
max_crop=52
learning_rate=0.05
momentum=0.9
burn_in=5
power=2
policy=poly
[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=24
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=4
size=1
stride=1
pad=1
activation=linear
[avgpool]
[softmax]
groups=1
"""


class Colours:
    """Image k has colour k of four; some cannot be read."""

    names = None
    table = np.array([(200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)], np.uint8)

    def __init__(self, length=9, broken=()):
        self.length, self.broken = length, broken

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index in self.broken:
            raise ImageError(f"{index}.png: broken")
        image = np.empty((30, 40, 3), np.uint8)
        image[:] = self.table[index % 4]
        return Sample(image, None, f"{index}.png", labels=np.eye(4, dtype=np.float32)[index % 4])


@pytest.fixture
def net():
    """It tells red, green and blue apart, and takes grey for red."""
    net = Network(parse(TINY, "tiny.cfg")).eval()
    with torch.no_grad():
        for layer in net.layers[:3]:
            layer.weight.zero_()
            side = layer.weight.shape[2] // 2
            for channel in range(3):
                layer.weight[channel, channel, side, side] = 3.0
        for layer in net.layers[:2]:
            layer.rolling_var.fill_(1.0)
        net.layers[2].bias.copy_(torch.tensor([0.1, 0.0, 0.0, -9.0]))
    return net


def test_what_a_classifier_is(net, cfg_folder):
    assert classes_of(net) == check_classifier(net) == 4
    detector = yolo.load(cfg_folder / "shapes.cfg")
    assert classes_of(detector) is None
    with pytest.raises(CfgError, match="a classifier ends in"):
        check_classifier(detector)
    squared = TINY.replace("[softmax]\ngroups=1\n", "[cost]\ntype=sse\n")
    assert classes_of(Network(parse(squared, "sse.cfg"))) == 4


@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (48, 48), (48, 49)])
def test_the_middle_is_cut_out(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = centred(image, 48, 48)
    h, w = shape
    size = (h * 48 // w, 48) if w < h else (48, w * 48 // h)
    whole = stretch(image, *size)
    top, left = (size[0] - 48) // 2, (size[1] - 48) // 2
    np.testing.assert_array_equal(found, whole[:, top : top + 48, left : left + 48])


def test_what_is_missing_repeats_the_edge():
    """The shorter side becomes as wide as the network, even if that is higher."""
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = centred(image, 48, 32)
    np.testing.assert_array_equal(found[:, 8:40], stretch(image, 32, 32))
    assert (found[:, :8] == found[:, 8:9]).all() and (found[:, 40:] == found[:, 39:40]).all()


def test_guesses_are_sorted_probabilities(net):
    found = guesses(net, Colours()[1].image, top=4)
    assert found[0][0] == 1 and {c for c, _ in found} == {0, 1, 2, 3}
    probabilities = [p for _, p in found]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)


def test_of_equal_ones_the_first_is_surer():
    assert surest(torch.tensor([[0.2, 0.3, 0.3, 0.2]]), 3).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("batch", [1, 4])
def test_accuracy_is_counted_by_class(net, batch):
    result = measure(net, Colours(9, broken=(5,)), top=2, batch=batch)
    # 0 1 2 3 4 . 6 7 8: the grey ones, 3 and 7, are taken for red
    assert (result.images, result.class_images) == (8, [3, 1, 2, 2])
    assert result.class_right == [3, 1, 2, 0]
    assert result.top1 == result.score == pytest.approx(6 / 8)
    assert result.topk == pytest.approx(6 / 8) and len(result.skipped) == 1
    text = result.report(["red", "green", "blue", "grey"])
    assert "class_id = 3, name = grey, top 1 = 0.00 %" in text
    assert "8 images: top 1: 0.750000, top 2: 0.750000" in text and "5.png: broken" in text
    assert measure(net, Colours(8), top=4).topk == 1


def test_a_hierarchy_of_classes_is_walked_down(net, tmp_path):
    """Classes 2 and 3 are kinds of class 0: their probabilities add up to its."""
    (tmp_path / "tree.txt").write_text("colour -1\nrest -1\nred 0\ngreen 0\n")
    text = TINY.replace("groups=1\n", f"tree={tmp_path / 'tree.txt'}\n")
    tree = Network(parse(text, "tree.cfg")).eval()
    tree.load_state_dict(net.state_dict())
    with torch.no_grad():
        tree.layers[2].weight[2:] = torch.eye(24)[:2, :, None, None] * 3
        tree.layers[2].bias.copy_(torch.tensor([50.0, 0, 0, 0]))
    found = dict(guesses(tree, Colours()[1].image, top=4))
    assert found[2] + found[3] == pytest.approx(found[0], abs=1e-5)
    assert found[0] + found[1] == pytest.approx(1, abs=1e-5)
    # a class with others below it is never the guess
    assert found[0] > 0.9 and measure(tree, Colours(8), top=1).class_right[0] == 0


def test_nothing_to_measure_is_an_error(net):
    with pytest.raises(ImageError, match="none of 2 images can be used"):
        measure(net, Colours(2, broken=(0, 1)))


# ---- the commands ----


@pytest.fixture
def files(tmp_path, net):
    """cfg, weights, .data, lists and images of the colours."""
    from yolo import weights

    (tmp_path / "tiny.cfg").write_text(TINY)
    weights.save(net, tmp_path / "tiny.weights")
    colours, names = Colours(8), ["red", "green", "blue", "grey"]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    listed = []
    for n in range(8):
        path = tmp_path / f"{names[n % 4]}-{n}.png"
        cv2.imwrite(str(path), cv2.cvtColor(colours[n].image, cv2.COLOR_RGB2BGR))
        listed.append(path.name)
    (tmp_path / "list.txt").write_text("\n".join(listed) + "\n")
    (tmp_path / "c.data").write_text(
        "train=list.txt\nvalid=list.txt\nlabels=names.txt\ntop=2\nbackup=out\n"
    )
    return tmp_path


def test_classify_names_images(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    command = ["classify", "tiny.cfg", "tiny.weights", "green-1.png", "--data", "c.data"]
    assert main([*command, "--json", "found.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("green-1.png: ")
    assert float(lines[1].removeprefix("green: ")) > 0.9
    assert len(lines) == 3  # top = 2
    (found,) = json.loads((files / "found.json").read_text())
    assert found["filename"] == "green-1.png" and found["classes"][0]["class_id"] == 1
    assert main([*command[:3], "missing.png", "green-1.png", "--top", "1"]) == 1
    done = capsys.readouterr()
    assert "class 1: " in done.out and "missing.png" in done.err


def test_classify_measures_the_valid_list(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    command = ["classify", "tiny.cfg", "tiny.weights", "--data", "c.data"]
    assert main([*command, "--json", "found.json"]) == 0
    assert "8 images: top 1: 0.750000, top 2: 0.750000" in capsys.readouterr().out
    assert json.loads((files / "found.json").read_text())["class_right"] == [2, 2, 2, 0]


def test_classify_without_anything_to_do_is_a_usage_error(files, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["classify", str(files / "tiny.cfg"), str(files / "tiny.weights")])
    assert ended.value.code == 2 and "expected images" in capsys.readouterr().err


def test_labels_must_be_as_many_as_outputs(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    (files / "names.txt").write_text("red\ngreen\n")
    assert main(["train", "tiny.cfg", "--data", "c.data", "--workers", "0"]) == 1
    assert "c.data: 2 labels, but the network has 4 outputs" in capsys.readouterr().err


def test_training_learns_the_labels_of_paths(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    command = ["train", "tiny.cfg", "--data", "c.data", "--map", "--workers", "0"]
    assert main([*command, "--iterations", "15", "--batch", "8"]) == 0
    said = capsys.readouterr().out
    assert "8 images: top 1: 1.000000, top 2: 1.000000" in said
    assert "top 1 100.00%  top 2 100.00%  best 100.00%" in said
    assert (files / "out" / "tiny_best.weights").is_file()


def test_training_learns_drawn_shapes(tmp_path, capsys):
    """Far better than one in four after seconds, on images that were not trained on."""
    (tmp_path / "tiny.cfg").write_text(TINY)
    command = ["train", str(tmp_path / "tiny.cfg"), "--out", str(tmp_path), "--workers", "0"]
    assert main(command) == 0
    found = re.search(r"200 images: top 1: ([\d.]+)", capsys.readouterr().out)
    assert float(found[1]) > 0.6

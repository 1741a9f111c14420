""".weights files: byte for byte, every header, partial files, and every way to be wrong."""

import struct
import warnings

import numpy as np
import pytest
import torch

import yolo
from yolo import weights
from yolo.cfg import parse, read
from yolo.network import Network
from yolo.weights import WeightsError

TEXT = """[net]
width=8
height=8
channels=3
batch=4
[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
[convolutional]
filters=2
[shortcut]
from=0
weights_type=per_channel
[batchnorm]
[avgpool]
[connected]
output=3
batch_normalize=1
[softmax]
"""
# values of each layer: (biases, scales, means, variances, weights) and so on, by hand
LAYERS = [4 * 4 + 4 * 3 * 9, 2 + 2 * 4, 2 * 2, 4 * 2, 0, 3 + 3 * 2 + 3 * 3, 0]


def network(text=TEXT):
    return Network(parse(text, "small.cfg"))


def numbered(path, counts=LAYERS, header=(0, 2, 5), seen=1234, kind="Q"):
    """A file whose values are 0, 1, 2, ..."""
    values = np.arange(sum(counts), dtype="<f4")
    path.write_bytes(struct.pack("<iii" + kind, *header, seen) + values.tobytes())
    return path


@pytest.fixture
def file(tmp_path):
    return numbered(tmp_path / "a.weights")


def test_count_by_hand():
    assert weights.count(network()) == sum(LAYERS)
    assert weights.count(network(), 2) == sum(LAYERS[:2])


def test_order_of_the_values(file):
    net = network()
    assert weights.load(net, file) == 7
    conv, plain, shortcut, norm, _, connected, _ = net.layers
    assert conv.bias.tolist() == [0, 1, 2, 3] and conv.scale.tolist() == [4, 5, 6, 7]
    assert conv.rolling_mean[0] == 8 and conv.rolling_var[0] == 12 and conv.weight[0, 0, 0, 1] == 17
    assert conv.weight[1, 0, 0, 0] == 16 + 27 and plain.bias[0] == 124 and plain.weight[0, 0] == 126
    assert shortcut.weight.tolist() == [134, 135, 136, 137]
    assert norm.bias[0] == 138 and norm.scale[0] == 140 and norm.rolling_var[1] == 145
    assert connected.bias[0] == 146 and connected.weight.tolist()[1] == [151, 152]
    assert connected.scale[0] == 155 and connected.rolling_var[2] == 163
    assert net.seen == 1234 and net.iteration == 1234 // 4


@pytest.mark.parametrize(
    ("header", "kind"),
    [((0, 2, 5), "Q"), ((0, 2, 0), "Q"), ((0, 1, 0), "I"), ((1, 0, 0), "Q"), ((0, 1001, 0), "Q")],
)
@pytest.mark.parametrize("seen", [0, 77, 2**31 + 5])
def test_every_header_goes_round(tmp_path, header, kind, seen):
    file = numbered(tmp_path / "a.weights", header=header, kind=kind, seen=seen)
    net = network()
    weights.load(net, file)
    weights.save(net, tmp_path / "b.weights", version=header)
    assert (tmp_path / "b.weights").read_bytes() == file.read_bytes()
    assert net.seen == seen


def test_transposed_matrices(tmp_path):
    net = network()
    weights.load(net, numbered(tmp_path / "a.weights", header=(1001, 0, 0)))
    assert net.layers[5].weight.tolist() == [[149, 152], [150, 153], [151, 154]]
    assert net.layers[2].weight.tolist() == [134, 135, 136, 137]


def test_a_count_too_large_for_an_old_header(tmp_path):
    net = network()
    net.seen = 2**32
    with pytest.raises(WeightsError, match="do not fit a header of version"):
        weights.save(net, tmp_path / "b.weights", version=(0, 1, 0))
    assert not list(tmp_path.iterdir())


def test_shipped_and_published_files_go_round(tmp_path, cfg_folder, shared):
    for name in ("yolo-fastest-1.1", "yolo-fastest-1.1-xl"):
        file = shared / "data" / "weights" / f"{name}.weights"
        net = yolo.load(file.with_suffix(".cfg"), file)
        weights.save(net, tmp_path / "b.weights")
        assert (tmp_path / "b.weights").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("name", ["yolov3-tiny", "yolov4-tiny"])
def test_shipped_networks_go_round(tmp_path, cfg_folder, name):
    net = Network(read(cfg_folder / f"{name}.cfg"))
    weights.save(net, tmp_path / "a.weights")
    other = Network(read(cfg_folder / f"{name}.cfg"), seed=1)
    weights.load(other, tmp_path / "a.weights")
    weights.save(other, tmp_path / "b.weights")
    assert (tmp_path / "a.weights").read_bytes() == (tmp_path / "b.weights").read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("name", ["yolov3", "yolov3-spp", "yolov4", "yolov4-csp", "darknet53"])
def test_large_shipped_networks_go_round(tmp_path, cfg_folder, name):
    test_shipped_networks_go_round(tmp_path, cfg_folder, name)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_a_file_of_the_first_layers(tmp_path, layers):
    file = numbered(tmp_path / "small.conv.1", LAYERS[:layers])
    net, fresh = network(), network()
    assert weights.load(net, file) == {1: 1, 2: 2, 3: 3, 4: 5}[layers]  # [avgpool] stores nothing
    assert net.layers[0].bias.tolist() == [0, 1, 2, 3]
    for ours, initial in zip(net.layers[layers:], fresh.layers[layers:], strict=True):
        torch.testing.assert_close(list(ours.stored()), list(initial.stored()))


def test_cutoff_takes_part_of_a_longer_file(file, tmp_path):
    net, fresh = network(), network()
    weights.load(net, file, cutoff=2)
    assert net.layers[1].bias[0] == 124
    assert torch.equal(net.layers[5].weight, fresh.layers[5].weight)
    weights.save(net, tmp_path / "b", cutoff=2)
    body = file.read_bytes()[20 : 20 + 4 * sum(LAYERS[:2])]
    assert (tmp_path / "b").read_bytes() == struct.pack("<iiiQ", 0, 2, 5, 0) + body


def test_dontload_and_dontloadscales(tmp_path):
    text = TEXT.replace("filters=2", "filters=2\ndontload=1")
    counts = [*LAYERS[:1], *LAYERS[2:]]
    net, fresh = network(text), network(text)
    weights.load(net, numbered(tmp_path / "a", counts))
    assert torch.equal(net.layers[1].weight, fresh.layers[1].weight)
    assert net.layers[2].weight[0] == 124
    net = network(TEXT.replace("pad=1", "pad=1\ndontloadscales=1"))
    weights.load(net, numbered(tmp_path / "a", [LAYERS[0] - 12, *LAYERS[1:]]))
    assert (net.layers[0].scale == 1).all() and net.layers[0].weight[0, 0, 0, 0] == 4


def corrupt(values, at, value):
    def change(data):
        return data[: 20 + 4 * at] + struct.pack("<f", value) + data[24 + 4 * at :]

    return change


WRONG = {
    "empty": (lambda d: b"", "has 0 bytes, less than the header"),
    "a few bytes": (lambda d: d[:15], "has 15 bytes, less than the header"),
    "cut in the header": (lambda d: d[:18], "cut off within its header"),
    "cut in a value": (lambda d: d[:-3], "no whole number of 4-byte values"),
    "cut in a layer": (
        lambda d: d[:-40],
        r"ends inside layer 5 .*small.cfg:18.*, 8 of its 18 values .* has 636 bytes, .* needs 676",
    ),
    "longer": (lambda d: d + b"\0" * 400, "has 1076 bytes, 400 more than small.cfg needs"),
    "a web page": (lambda d: b"\n<!DOCTYPE html><html>" + d, "is a web page"),
    "a web page, old": (lambda d: b"<html><head>" + d, "is a web page"),
    "an error in JSON": (lambda d: b'{"error": 404}' + d, "is a web page"),
    "a pointer": (lambda d: b"version https://git-lfs.github.com/spec/v1\n" + d, "Git LFS pointer"),
    "text": (lambda d: b"[net]\nbatch=64\n" + d, "its header says version"),
    "an archive": (lambda d: b"PK\x03\x04" + d, "its header says version"),
    "not a number": (corrupt(None, 130, float("nan")), "layer 1 .* not finite"),
    "infinite": (corrupt(None, 20, float("inf")), "layer 0 .* not finite"),
    "negative variance": (corrupt(None, 13, -0.5), "layer 0 .* negative variance"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_and_nothing_is_loaded(file, name):
    change, words = WRONG[name]
    file.write_bytes(change(file.read_bytes()))
    net, fresh = network(), network()
    with pytest.raises(WeightsError, match=words) as caught:
        weights.load(net, file)
    assert str(caught.value).startswith(str(file))
    torch.testing.assert_close(net.state_dict(), fresh.state_dict(), rtol=0, atol=0)
    assert net.seen == 0


def test_weights_of_another_network(file, cfg_folder):
    net = Network(read(cfg_folder / "yolov3-tiny.cfg"))
    with pytest.raises(WeightsError, match="belongs to another network"):
        weights.load(net, file)


def test_an_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        weights.load(network(), tmp_path / "absent.weights")


def test_fused_networks_are_refused(tmp_path, file):
    fused = network().fused()
    with pytest.raises(WeightsError, match="can be saved from it"):
        weights.save(fused, tmp_path / "b.weights")
    with pytest.raises(WeightsError, match="can be loaded into it"):
        weights.load(fused, file)


def test_a_failing_save_leaves_the_old_file(tmp_path, file, monkeypatch):
    net = network()
    before = file.read_bytes()

    def stored():
        yield net.layers[5].bias
        raise RuntimeError("power cut")

    monkeypatch.setattr(net.layers[5], "stored", stored)
    with pytest.raises(RuntimeError, match="power cut"):
        weights.save(net, file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def test_size_on_disk_is_the_summary_s(tmp_path):
    net = network()
    weights.save(net, tmp_path / "b.weights")
    assert (tmp_path / "b.weights").stat().st_size == net.summary_dict()["weights_bytes"]


def test_a_network_to_be_used_says_what_its_file_lacks(tmp_path):
    (tmp_path / "n.cfg").write_text(TEXT)
    cfg, whole, part = tmp_path / "n.cfg", tmp_path / "whole.weights", tmp_path / "part.weights"
    numbered(whole)
    numbered(part, LAYERS[:2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yolo.load(cfg, whole)
        yolo.load(cfg, whole, strict=True)
    with pytest.warns(weights.WeightsWarning, match=r"layers 0..1 of 7 .* not loaded: layer 2"):
        yolo.load(cfg, part)
    with pytest.raises(WeightsError, match="ends before layer 2"):
        yolo.load(cfg, part, strict=True)

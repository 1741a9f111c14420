"""safetensors files and PyTorch's state_dict: nothing is lost on the way there and back."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import yolo
from yolo import weights
from yolo.__main__ import main
from yolo.cfg import parse
from yolo.network import Network
from yolo.weights import WeightsError, tensors

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
[connected]
output=3
batch_normalize=1
"""


def network(*changes, seed=0):
    text = TEXT
    for old, new in changes:
        text = text.replace(old, new, 1)
    return Network(parse(text, "small.cfg"), seed=seed)


@pytest.fixture
def cfg(tmp_path):
    path = tmp_path / "small.cfg"
    path.write_text(TEXT)
    return str(path)


@pytest.mark.parametrize("version", [(0, 2, 5), (0, 1, 0)])
def test_weights_to_safetensors_and_back_is_byte_for_byte(tmp_path, cfg, version, capsys):
    net = network(seed=3)
    net.seen = 4321
    first, between, last = (str(tmp_path / n) for n in ("a.weights", "b.safetensors", "c.weights"))
    weights.save(net, first, version=version)
    assert main(["weights", "convert", cfg, first, between]) == 0
    assert main(["weights", "convert", cfg, between, last]) == 0
    assert "12 of 12 tensors loaded" in capsys.readouterr().out
    assert (tmp_path / "c.weights").read_bytes() == (tmp_path / "a.weights").read_bytes()


def test_state_dict_of_pytorch(tmp_path):
    net, other = network(seed=1), network(seed=2)
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    assert weights.load(other, tmp_path / "a.safetensors") == 3
    torch.testing.assert_close(other.state_dict(), net.state_dict(), rtol=0, atol=0)
    weights.save(other, tmp_path / "b.safetensors")
    again = network()
    again.load_state_dict(load_file(tmp_path / "b.safetensors"))
    torch.testing.assert_close(again.state_dict(), net.state_dict(), rtol=0, atol=0)


def test_seen_goes_with_the_file(tmp_path):
    net = network()
    net.seen = 400
    weights.save(net, tmp_path / "a.safetensors")
    other = network(seed=9)
    weights.load(other, tmp_path / "a.safetensors")
    assert (other.seen, other.iteration) == (400, 100)


def test_the_package_loads_them_by_name(tmp_path, cfg):
    net = network(seed=5)
    weights.save(net, tmp_path / "a.safetensors")
    loaded = yolo.load(cfg, tmp_path / "a.safetensors")
    assert torch.equal(loaded.layers[0].weight, net.layers[0].weight)


def test_a_file_of_another_network_says_what_does_not_fit(tmp_path):
    weights.save(network(("filters=2", "filters=5")), tmp_path / "a.safetensors")
    net = network(seed=1)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(WeightsError, match=r"of another shape: layers.1.weight \(5, 4, 1, 1\) ->"):
        weights.load(net, tmp_path / "a.safetensors")
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_partial_loading_takes_what_fits_and_reports_the_rest(tmp_path, cfg, capsys):
    donor = network(("filters=2", "filters=5"), seed=7)
    donor.seen = 40
    values = donor.state_dict() | {"extra": torch.zeros(1)}
    del values["layers.2.scale"]
    save_file(values, tmp_path / "a.safetensors")
    net = network(seed=1)
    kept = net.layers[1].weight.clone()
    report = tensors.load(net, tmp_path / "a.safetensors", partial=True)
    assert report.unknown == ["extra"] and report.missing == ["layers.2.scale"]
    assert [m.split(" ")[0] for m in report.misfit] == [
        "layers.1.weight", "layers.1.bias", "layers.2.weight"
    ]  # fmt: skip
    assert torch.equal(net.layers[0].weight, donor.layers[0].weight)
    assert torch.equal(net.layers[1].weight, kept)
    assert net.seen == 0
    out = str(tmp_path / "b.weights")
    assert main(["weights", "convert", cfg, str(tmp_path / "a.safetensors"), out]) == 1
    assert "does not belong to" in capsys.readouterr().err
    assert main(["weights", "convert", "--partial", cfg, str(tmp_path / "a.safetensors"), out]) == 0
    text = capsys.readouterr().out
    assert "8 of 12 tensors loaded" in text
    assert "not in the file: layers.2.scale" in text and "not in the network: extra" in text


def test_partial_weights_are_refused_where_all_are_asked_for(tmp_path, cfg, capsys):
    path, out = str(tmp_path / "a.weights"), str(tmp_path / "b.safetensors")
    weights.save(network(seed=4), path, cutoff=1)
    with pytest.raises(WeightsError, match=r"ends before layer 1 \[convolutional\]"):
        weights.load(network(), path, strict=True)
    assert main(["weights", "convert", cfg, path, out]) == 1
    assert main(["weights", "convert", "--partial", cfg, path, out]) == 0
    assert "layers 0..0 of 3 are in the file; not loaded: layer 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.safetensors", b"<!DOCTYPE html><html>", "is a web page"),
        ("a.safetensors", b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        ("a.safetensors", b"\x08\0\0\0\0\0\0\0{}      ", None),
        ("a.safetensors", bytes(100), "is no safetensors file"),
        ("a.pt", bytes(100), "run code when they are read"),
    ],
)
def test_other_files(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=words or "not in the file"):
        weights.load(network(), tmp_path / name)


def test_info(tmp_path, cfg, capsys):
    net = network()
    net.seen = 64
    for name in ("a.weights", "a.safetensors"):
        weights.save(net, tmp_path / name)
        assert main(["weights", "info", str(tmp_path / name), cfg]) == 0
    out = capsys.readouterr().out
    assert "version 0.2.5, 64 images seen" in out and "all 3 layers are in the file" in out
    assert "seen: 64" in out and "12 of 12 tensors loaded" in out


def test_a_fused_network_is_no_source(tmp_path):
    with pytest.raises(WeightsError, match="folded into the weights"):
        weights.save(network().fused(), tmp_path / "a.safetensors")

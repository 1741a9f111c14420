"""MTCNN's arrays in our networks give what plain PyTorch makes of them; other files are refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import yolo
from yolo.__main__ import main
from yolo.weights import WeightsError
from yolo.weights import load as load_weights

# stage: convolutions (filters, channels, size), pools, dense (outputs, inputs), heads
STAGES = {
    "pnet": ([(10, 3, 3), (16, 10, 3), (32, 16, 3)], [2], [], [2, 4]),
    "rnet": ([(28, 3, 3), (48, 28, 3), (64, 48, 2)], [3, 3], [(128, 576)], [2, 4]),
    "onet": (
        [(32, 3, 3), (64, 32, 3), (64, 64, 3), (128, 64, 2)],
        [3, 3, 2],
        [(256, 1152)],
        [2, 4, 10],
    ),
}


def arrays(stage):
    """Random arrays by the published names."""
    convolutions, _, dense, heads = STAGES[stage]
    rng, made, depth = np.random.default_rng(0), {}, len(convolutions)

    def add(name, *shape):
        made[f"{name}.weight"] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
        made[f"{name}.bias"] = rng.normal(0, 0.5, shape[0])

    for number, (filters, channels, size) in enumerate(convolutions, 1):
        add(f"conv{number}", filters, channels, size, size)
        made[f"prelu{number}.weight"] = rng.normal(0, 0.5, filters)
    for outputs, inputs in dense:
        depth += 1
        add(f"dense{depth}", outputs, inputs)
        made[f"prelu{depth}.weight"] = rng.normal(0, 0.5, outputs)
    for part, outputs in enumerate(heads, 1):
        if dense:
            add(f"dense{depth + 1}_{part}", outputs, dense[-1][0])
        else:
            add(f"conv{depth + 1}_{part}", outputs, convolutions[-1][0], 1, 1)
    return {name: array.astype(np.float32) for name, array in made.items()}


def published(stage, arrays, x):
    """Output of the stage as its authors compute it; x (N, 3, H, W), 0..1."""
    convolutions, pools, dense, _ = STAGES[stage]
    a = {name: torch.from_numpy(array).double() for name, array in arrays.items()}
    y, number = (255 * x - 127.5) / 128, 0
    for number in range(1, len(convolutions) + 1):
        y = F.conv2d(y, a[f"conv{number}.weight"], a[f"conv{number}.bias"])
        y = F.prelu(y, a[f"prelu{number}.weight"])
        if number <= len(pools):
            y = F.max_pool2d(y, pools[number - 1], 2, ceil_mode=True)
    if dense:
        number += 1
        y = y.permute(0, 3, 2, 1).flatten(1)
        y = F.linear(y, a[f"dense{number}.weight"], a[f"dense{number}.bias"])
        y = F.prelu(y, a[f"prelu{number}.weight"])[:, :, None, None]
    parts = []
    for name in sorted(n for n in a if "_" in n and n.endswith(".weight")):
        weight = a[name].reshape(*a[name].shape[:2], 1, 1)
        parts.append(F.conv2d(y, weight, a[name.replace("weight", "bias")]))
    return torch.cat([parts[0].softmax(1), *parts[1:]], 1)


@pytest.mark.parametrize(
    ("stage", "size"), [("pnet", 12), ("pnet", 37), ("rnet", 24), ("onet", 48)]
)
def test_outputs(stage, size, tmp_path, cfg_folder):
    made = arrays(stage)
    np.savez(tmp_path / "values.npz", **made)
    cfg = str(cfg_folder / f"{stage}.cfg")
    assert (
        main(["weights", "convert", cfg, str(tmp_path / "values.npz"), str(tmp_path / "v.weights")])
        == 0
    )
    net = yolo.load(cfg, tmp_path / "v.weights").double()
    if stage == "pnet":
        net.resize(size, size)
    x = torch.rand(2, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        y = net(x)[0]
    torch.testing.assert_close(y, published(stage, made, x), rtol=1e-5, atol=1e-5)


def broken(stage, change):
    made = arrays(stage)
    change(made)
    return made


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda a: a.pop("conv2.bias"),
            r"conv2 does not fit layer 3 .*bias none, expected \(16,\)",
        ),
        (lambda a: a.pop("prelu3.weight"), "holds 6 layers .* has 7"),
        (
            lambda a: a.update({"conv2.weight": a["conv2.weight"][:, :9]}),
            r"\(16, 9, 3, 3\), expected",
        ),
        (lambda a: a.update({"gamma": a["conv1.bias"]}), "gamma is no array of MTCNN"),
        (lambda a: a["conv1.bias"].fill(np.nan), "conv1.bias holds other things"),
        (lambda a: a.update({"conv4_2.bias": np.zeros((4, 1))}), "parts of conv4 do not fit"),
    ],
)
def test_arrays_of_another_network(change, words, tmp_path, cfg_folder):
    np.savez(tmp_path / "values.npz", **broken("pnet", change))
    net = yolo.load(cfg_folder / "pnet.cfg")
    before = [p.clone() for p in net.parameters()]
    with pytest.raises(WeightsError, match=words):
        load_weights(net, tmp_path / "values.npz")
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 cut off"])
def test_files_that_are_none(content, tmp_path, cfg_folder):
    (tmp_path / "values.npz").write_bytes(content)
    with pytest.raises(WeightsError, match=r"no \.npz file"):
        load_weights(yolo.load(cfg_folder / "pnet.cfg"), tmp_path / "values.npz")


def test_pickles_are_not_opened(tmp_path, cfg_folder):
    np.savez(tmp_path / "values.npz", **{"conv1.weight": np.array([{}], dtype=object)})
    with pytest.raises(WeightsError, match=r"no \.npz file"):
        load_weights(yolo.load(cfg_folder / "pnet.cfg"), tmp_path / "values.npz")

"""Stages of MTCNN trained by the command: a few iterations on drawn faces."""

import csv

import cv2
import numpy as np
import pytest

from yolo.__main__ import main

SETTINGS = ["--batch", "16", "--workers", "0", "--set", "burn_in=0"]


@pytest.fixture
def data(tmp_path):
    """Eight images, each with a bright disc that is a face."""
    rng, lines = np.random.default_rng(0), []
    for n in range(8):
        image = rng.integers(0, 90, (120, 140, 3), np.uint8)
        side, x, y = (
            int(rng.integers(44, 60)),
            int(rng.integers(40, 100)),
            int(rng.integers(40, 80)),
        )
        cv2.circle(image, (x, y), side // 2, (240, 250, 230), -1)
        cv2.imwrite(str(tmp_path / f"{n}.png"), image)
        lines += [f"{n}.png", "1", f"{x - side // 2} {y - side // 2} {side} {side}"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    path = tmp_path / "faces.data"
    path.write_text("train = list.txt\nvalid = list.txt\nformat = wider\n")
    return path


def train(data, cfg, out, *more):
    command = ["train", str(cfg), "--data", str(data), "--out", str(out), *SETTINGS]
    return main([*command, *more])


def test_the_first_stage_learns(data, cfg_folder, tmp_path, capsys):
    out = tmp_path / "run"
    settings = ["--set", "steps=100,110", "--learning-rate", "0.02"]
    assert train(data, cfg_folder / "pnet.cfg", out, "--iterations", "60", "--map", *settings) == 0
    printed = capsys.readouterr().out
    assert "samples from the 8 images of train" in printed
    assert "8 images:" in printed and "faces above 40 pixels" in printed
    assert (out / "pnet_best.weights").exists() and (out / "chart.png").exists()
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    losses = [float(row["loss"]) for row in rows]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    assert float(rows[-1]["map"]) > 0.6
    assert main(["recall", str(out / "pnet.cfg"), str(out / "pnet_final.weights"),
                 "--data", str(data)]) == 0  # fmt: skip
    assert "faces above 40 pixels" in capsys.readouterr().out


def test_a_run_goes_on_byte_for_byte(data, cfg_folder, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    cfg = cfg_folder / "pnet.cfg"
    assert train(data, cfg, whole, "--iterations", "6") == 0
    assert train(data, cfg, parts, "--iterations", "3") == 0
    assert train(data, cfg, parts, "--iterations", "6", "--resume") == 0
    final = "pnet_final.weights"
    assert (whole / final).read_bytes() == (parts / final).read_bytes()


@pytest.mark.parametrize("stage", ["rnet", "onet"])
def test_the_other_stages(data, cfg_folder, tmp_path, capsys, stage):
    out = tmp_path / stage
    assert train(data, cfg_folder / f"{stage}.cfg", out, "--iterations", "2", "--map") == 0
    assert "told right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--width", "24"], "takes squares"),
        (["--cache-images", "1M"], "only images of a list"),
        (["--anchors"], "no head such as"),
    ],
)
def test_flags_that_do_not_fit(data, cfg_folder, tmp_path, capsys, more, words):
    assert train(data, cfg_folder / "pnet.cfg", tmp_path / "run", *more) == 1
    assert words in capsys.readouterr().err


def test_without_data(cfg_folder, tmp_path, capsys):
    assert main(["train", str(cfg_folder / "pnet.cfg"), "--out", str(tmp_path)]) == 1
    assert "trains on images with faces" in capsys.readouterr().err

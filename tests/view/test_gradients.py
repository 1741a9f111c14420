"""The heat map of gradient norms: means of stretches, and files that are none."""

import cv2
import numpy as np
import pytest

from yolo.__main__ import main
from yolo.view.gradients import GradientsError, read, stretches


def write(path, rows, layers=("0_convolutional", "3_convolutional")):
    lines = [",".join(["iteration", *layers]), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_stretches_are_geometric_means():
    iterations = np.arange(10.0, 16010, 10)
    norms = np.stack([10.0 ** (np.arange(1600) % 2), np.full(1600, np.nan)], 1)
    norms[3, 1] = 5
    edges, means = stretches(iterations, norms)
    assert means.shape == (800, 2) and edges[0] == 0 and edges[-1] == 16000
    np.testing.assert_allclose(means[:, 0], np.sqrt(10))
    assert means[1, 1] == pytest.approx(5) and np.isnan(np.delete(means[:, 1], 1)).all()


def test_the_picture_shows_where_gradients_are_large(tmp_path, capsys):
    rows = [(i, 1e-3, 1e2 if i > 50 else "") for i in range(1, 101)]
    path = write(tmp_path / "gradients.csv", rows)
    out = tmp_path / "new" / "g.png"
    assert main(["plot", str(path), "--what", "gradients", "--out", str(out)]) == 0
    picture = cv2.imread(str(out)).astype(int)
    dark = (abs(picture - (84, 1, 68)).sum(2) < 30).sum()  # viridis at its ends, BGR
    bright = (abs(picture - (37, 231, 253)).sum(2) < 30).sum()
    grey = (abs(picture - 0xD8).sum(2) < 9).sum()  # nothing there
    assert dark > 1.5 * bright > 10000 and grey > 0.5 * bright


@pytest.mark.parametrize("rows", [[(1, 0.5, 0.25)], [(1, 0, 0), (2, "", "")]])
def test_hardly_any_values_are_a_picture(tmp_path, rows):
    path = write(tmp_path / "g.csv", rows)
    out = str(tmp_path / "g.png")
    assert main(["plot", str(path), "--what", "gradients", "--out", out]) == 0
    assert cv2.imread(out).std() > 5


def test_what_is_no_such_file_is_named(tmp_path, capsys):
    for text, message in (
        ("", ":1: expected 'iteration'"),
        ("iteration,loss\n1,2\n", ":1: expected 'iteration'"),
        ("iteration,0_conv\n", "no iteration yet"),
        ("iteration,0_conv\n1,2,3\n2,1\n", ":2: 3 cells of 2"),
        ("iteration,0_conv\n1,x\n2,1\n", ":2: could not convert"),
    ):
        path = tmp_path / "g.csv"
        path.write_text(text)
        with pytest.raises(GradientsError, match=message):
            read(path)
    assert main(["plot", str(path), "--what", "gradients"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {path}:2:")


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path):
    path = write(tmp_path / "g.csv", [(1, 0.5, 2), (2, 0.25)])
    iterations, names, norms = read(path)
    assert iterations.tolist() == [1] and names[1] == "3_convolutional"
    assert norms.tolist() == [[0.5, 2]]

"""Lists divided: whole, by the seed alone, each class by its share, copies together."""

import numpy as np
import pytest

from yolo.__main__ import main
from yolo.data import DataError, Dataset
from yolo.data.split import divide


@pytest.fixture
def folder(tmp_path):
    """100 images (their content is never decoded), of which 10 have class 1, all others 0."""
    for k in range(100):
        (tmp_path / f"{k}.jpg").write_text(f"content {k}")
        (tmp_path / f"{k}.txt").write_text(f"{int(k % 10 == 3)} .5 .5 .2 .2\n0 .5 .5 .3 .3\n")
    (tmp_path / "all.txt").write_text("".join(f"{k}.jpg\n" for k in range(100)))
    (tmp_path / "set.names").write_text("x\ny\n")
    (tmp_path / "set.data").write_text("classes=2\ntrain=all.txt\nnames=set.names\n")
    return tmp_path


@pytest.mark.parametrize("share", [0.004, 0.1, 0.25, 0.5, 0.996])
@pytest.mark.parametrize("stratify", [True, False])
def test_every_image_once_and_the_share_held(folder, share, stratify):
    dataset = Dataset.from_data(folder / "set.data")
    train, valid = divide(dataset, share, stratify=stratify)
    assert sorted(train + valid) == list(range(100))
    assert len(valid) == min(99, max(1, round(100 * share)))


@pytest.mark.parametrize("seed", range(5))
def test_each_class_by_its_share(folder, seed):
    train, valid = divide(Dataset.from_data(folder / "set.data"), 0.2, seed)
    assert sum(k % 10 == 3 for k in valid) == 2 and len(valid) == 20 and len(train) == 80


def test_the_seed_decides(folder):
    dataset = Dataset.from_data(folder / "set.data")
    assert divide(dataset, 0.3, 1) == divide(dataset, 0.3, 1) != divide(dataset, 0.3, 2)


@pytest.mark.parametrize("seed", range(5))
def test_copies_stay_together(folder, seed):
    for k in range(0, 40, 2):
        (folder / f"{k + 1}.jpg").write_text(f"content {k}")
    _, valid = divide(Dataset.from_data(folder / "set.data"), 0.3, seed)
    assert all((k in valid) == (k + 1 in valid) for k in range(0, 40, 2))
    assert abs(len(valid) - 30) <= 1


def test_what_cannot_be_divided(folder):
    for k in range(100):
        (folder / f"{k}.jpg").write_text("same")
    with pytest.raises(DataError, match="all images have the same content"):
        divide(Dataset.from_data(folder / "set.data"), 0.3)
    (folder / "all.txt").write_text("1.jpg\n")
    with pytest.raises(DataError, match="two are needed"):
        divide(Dataset.from_data(folder / "set.data"), 0.3)


@pytest.mark.parametrize("below", [True, False])
def test_command_writes_lists_that_can_be_used(folder, tmp_path_factory, capsys, below):
    out = folder if below else tmp_path_factory.mktemp("out dir")
    arguments = ["data", "split", str(folder / "set.data"), "--out", str(out), "--valid", "0.1"]
    if below:
        assert main(arguments) == 1  # set.data is there
        assert "exists already; --overwrite" in capsys.readouterr().err
        arguments.append("--overwrite")
    assert main(arguments) == 0
    assert "90 images to train on, 10 to measure on" in capsys.readouterr().out
    train, valid = (Dataset.from_data(out / "set.data", part) for part in ("train", "valid"))
    paths = [d.image_path(k) for d in (train, valid) for k in range(len(d))]
    assert len(set(paths)) == 100 and valid.names == ["x", "y"]
    assert (valid.entries[0].text[0] == "/") != below
    assert main(arguments) == (0 if below else 1)
    assert np.isfinite(valid.boxes(0)[0]).all()


@pytest.mark.parametrize("share", ["0", "1", "nan", "x"])
def test_shares_that_make_no_sense(folder, share):
    with pytest.raises(SystemExit) as stop:
        main(["data", "split", str(folder / "set.data"), "--out", "x", "--valid", share])
    assert stop.value.code == 2

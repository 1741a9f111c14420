"""A small network with arbitrary opinions, and images with boxes near what it finds."""

import cv2
import numpy as np
import pytest

from tests.micro_net import micro, written


@pytest.fixture(autouse=True)
def small(one_thread):
    pass


@pytest.fixture
def project(tmp_path):
    """Folder with micro.cfg, micro.weights, and set.data: five images, truths near what the
    network finds in them, one list of difficult ones."""
    net = micro()
    written(tmp_path)
    names = [f"img_{k:03}.png" for k in (7, 12, 3, 40, 41)]
    (tmp_path / "hard").mkdir()
    for seed, name in enumerate(names):
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 256, (60, 80, 3), np.uint8)
        cv2.imwrite(str(tmp_path / name), image[..., ::-1])
        found = net.predict(image, thresh=0.2)
        x1, y1, x2, y2 = (found.clipped().boxes_xyxy / np.array([80, 60, 80, 60])).T
        rows = np.stack([found.classes, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1)
        rows[:, 1] += rng.uniform(-0.03, 0.03, len(rows))
        rows = rows[((rows[:, 1:] > 0) & (rows[:, 1:] <= 1)).all(1)]
        for folder, part in ((tmp_path, rows[::5]), (tmp_path / "hard", rows[2::9])):
            lines = [f"{int(r[0])} " + " ".join(f"{v:.6f}" for v in r[1:]) for r in part]
            (folder / name).with_suffix(".txt").write_text("\n".join(lines) + "\n")
        (tmp_path / "hard" / name).write_bytes((tmp_path / name).read_bytes())
    (tmp_path / "valid.txt").write_text("".join(f"{n}\n" for n in names))
    (tmp_path / "hard.txt").write_text("".join(f"hard/{n}\n" for n in names))
    (tmp_path / "set.names").write_text("red fox\nb\nc\n")
    (tmp_path / "set.data").write_text("classes=3\nvalid=valid.txt\nnames=set.names\n")
    return tmp_path

"""A small network in files, and images in every form that can be cut into parts."""

import io
import tarfile

import pytest

from tests.micro_net import written
from yolo.data import ShapesDataset, image

COUNT = 11


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """(cfg, weights) of a network with arbitrary opinions."""
    return tuple(written(tmp_path_factory.mktemp("network")))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of COUNT images."""
    folder = tmp_path_factory.mktemp("source") / "images"
    folder.mkdir()
    shapes = ShapesDataset(3, COUNT, (60, 80))
    for number in range(COUNT):
        image.write(folder / f"{number:02d}.png", shapes[number].image)
    return folder


@pytest.fixture(scope="session")
def sources(pictures):
    """The same images as a folder, a list, Parquet with bytes, with paths, and shards."""
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    root, paths = pictures.parent, sorted(pictures.iterdir())
    (root / "list.txt").write_text("".join(f"images/{path.name}\n\n" for path in paths))
    table = pyarrow.table({"bytes": [path.read_bytes() for path in paths]})
    parquet.write_table(table, root / "bytes.parquet", row_group_size=4)
    (root / "tables").mkdir()
    for half, some in enumerate((paths[:6], paths[6:])):
        table = pyarrow.table({"path": [str(path) for path in some]})
        parquet.write_table(table, root / "tables" / f"{half}.parquet")
        with tarfile.open(root / f"s-{half}.tar", "w") as tar:
            for path in some:
                entry, content = tarfile.TarInfo(path.name), path.read_bytes()
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return {
        "folder": str(pictures),
        "list": str(root / "list.txt"),
        "bytes": str(root / "bytes.parquet"),
        "paths": str(root / "tables"),
        "shards": str(root / "s-{0..1}.tar"),
    }

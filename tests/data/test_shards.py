"""Shards: what they hold, their order, and that a run on a stream goes on where it stopped."""

import io
import itertools
import json
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.local_server import answering
from yolo.data import shards, stream
from yolo.data.augment import Augment
from yolo.data.labels import LabelError
from yolo.data.lists import DataError
from yolo.data.loader import Loader
from yolo.data.shards import ShardDataset, ShardError, expand, images_in, is_shards, raws

pytest.importorskip("webdataset")
AUGMENT = Augment(0.3, 1.2, True, 0.1, 1.5, 1.5, mosaic=True)
ROW = "{} .5 .5 .2 .3"


def png(level):
    return cv2.imencode(".png", np.full((12, 16, 3), level, np.uint8))[1].tobytes()


def archive(path, files, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def pair(number, form="txt"):
    """The files of an image whose level and class are its number."""
    text = ROW.format(number)
    if form == "json":
        text = json.dumps({"boxes": [[number, 0.5, 0.5, 0.2, 0.3]], "by": "hand"})
    return [(f"a/{number:03d}.png", png(number)), (f"a/{number:03d}.{form}", text.encode())]


@pytest.fixture
def data(tmp_path):
    """Five shards of 8 images, some with JSON labels, and their .data file."""
    for shard in range(5):
        numbers = range(8 * shard, 8 * shard + 8)
        files = itertools.chain(*(pair(n, "json" if n % 3 == 0 else "txt") for n in numbers))
        archive(tmp_path / f"t-{shard:02d}.tar", files)
    (tmp_path / "my.data").write_text(
        "classes = 40\ntrain = t-{00..04}.tar\nvalid = t-04.tar\ntrain_images = 40\n"
    )
    return tmp_path / "my.data"


@pytest.fixture
def small(monkeypatch):
    """So few images wait that the order of the shards matters."""
    monkeypatch.setattr(stream, "SHUFFLED", 6)


def batches(dataset, count, workers=0, **options):
    with Loader(dataset, 4, 32, 48, workers=workers, seed=3, **options) as loader:
        return list(itertools.islice(loader, count))


def same(a, b):
    return a.paths == b.paths and all(
        np.array_equal(x, y) for x, y in ((a.images, b.images), (a.boxes, b.boxes))
    )


def test_what_a_shard_holds(data):
    dataset = ShardDataset.from_data(data)
    assert len(dataset) == 40 and dataset.classes == 40
    for number, sample in enumerate(dataset):
        assert (sample.image == number).all() and sample.image.shape == (12, 16, 3)
        np.testing.assert_allclose(sample.boxes, [[number, 0.5, 0.5, 0.2, 0.3]])
        assert sample.path.endswith(f"t-{number // 8:02d}.tar:a/{number:03d}.png")
    found = dataset.check(limit=10)
    assert (found.images, found.boxes, found.broken) == (10, 10, [])


def test_images_are_counted_where_nobody_says_how_many(data, tmp_path):
    (tmp_path / "c.data").write_text("classes = 40\ntrain = t-00.tar::t-03.tar\n")
    assert len(ShardDataset.from_data(tmp_path / "c.data")) == 16
    files = [
        ("x.txt", b""),
        ("y.jpg", png(1)),
        ("y.txt", b""),
        ("z.cls", b"3"),
        ("w.b.PNG", png(1)),
    ]
    archive(tmp_path / "odd.tgz", files, "w:gz")
    assert images_in(tmp_path / "odd.tgz") == len(list(raws(str(tmp_path / "odd.tgz")))) == 2


def test_an_epoch_has_every_image_once_in_an_order_of_its_own(data, small):
    made = batches(ShardDataset.from_data(data), 20)
    paths = [path for batch in made for path in batch.paths]
    first, second = paths[:40], paths[40:]
    assert len(set(first)) == len(set(second)) == 40 and first != second
    assert first != sorted(first)


@pytest.mark.parametrize("augment", [None, AUGMENT], ids=["plain", "mosaic"])
def test_batches_do_not_depend_on_the_number_of_workers(data, small, augment):
    dataset = ShardDataset.from_data(data)
    alone = batches(dataset, 12, augment=augment)
    assert all(map(same, alone, batches(dataset, 12, workers=2, augment=augment)))


@pytest.mark.parametrize("start", [4, 20, 40, 44])
def test_a_run_goes_on_where_it_stopped(data, small, start):
    dataset = ShardDataset.from_data(data)
    whole = batches(dataset, 14, augment=AUGMENT)
    rest = batches(dataset, 3, augment=AUGMENT, start=start)
    assert all(map(same, whole[start // 4 :], rest))


def test_shares_of_ranks_make_up_the_whole(data, small):
    def draws(share):
        order = ShardDataset.from_data(data).order(lambda n: (4, 8, 8), seed=1, share=share)
        return list(itertools.islice(order, 12))

    whole, parts = draws(None), [draws(lambda n, r=r: (2 * r, 2 * r + 2)) for r in range(2)]
    assert whole == [a + b for a, b in zip(*parts, strict=True)]


def test_broken_images_are_replaced_by_their_neighbours(data, tmp_path):
    files = [*pair(1), ("b.png", b"no image"), *pair(2), ("c.png", png(7)), ("c.txt", b"9 1 1\n")]
    archive(tmp_path / "broken.tar", files)
    (tmp_path / "b.data").write_text("classes = 40\ntrain = broken.tar\n")
    dataset = ShardDataset.from_data(tmp_path / "b.data")
    with Loader(dataset, 4, 8, 8, workers=0, seed=1) as loader:
        made = list(itertools.islice(loader, 5))
        assert sorted(name.rpartition("/")[2][:12] for name in loader.broken) == [
            "broken.tar:b",
            "broken.tar:c",
        ]
    assert {path[-7:] for batch in made for path in batch.paths} == {"001.png", "002.png"}


@pytest.mark.parametrize("text", ["[]", "{", '{"boxes": 3}', '{"boxes": [[0, NaN, 1, 1, 1]]}'])
def test_json_labels_that_are_none(tmp_path, text):
    archive(tmp_path / "s.tar", [("a.png", png(1)), ("a.json", text.encode())])
    dataset = ShardDataset([str(tmp_path / "s.tar")], 1, 40)
    with pytest.raises(LabelError, match=r"s\.tar:a\.json:1: "):
        list(dataset)


@pytest.mark.parametrize("promised, how", [(39, "more than 39"), (41, "only 40")])
def test_a_wrong_number_of_images_is_an_error(data, small, promised, how):
    dataset = ShardDataset.from_data(data)
    dataset.length = promised
    with pytest.raises(DataError, match=f"{promised} images were promised.*{how}"):
        batches(dataset, 12)


def test_damaged_and_missing_shards_are_named(data, tmp_path):
    whole = (tmp_path / "t-00.tar").read_bytes()
    for end, message in ((2048, "cut short"), (2700, "cannot be .* unexpected end of data$")):
        (tmp_path / "t-00.tar").write_bytes(whole[:end])
        with pytest.raises(ShardError, match=rf"t-00\.tar: {message}"):
            list(ShardDataset.from_data(data))
    (tmp_path / "t-00.tar").write_bytes(b"no archive")
    with pytest.raises(ShardError, match=r"t-00\.tar: cannot be read as a shard"):
        list(ShardDataset.from_data(data))
    (tmp_path / "t-00.tar").unlink()
    with pytest.raises(DataError, match=r"my\.data:2: .*t-00\.tar: no such file"):
        ShardDataset.from_data(data)


@settings(max_examples=60, deadline=None)
@given(
    packed=st.sampled_from(["", "gz", "bz2", "xz"]),
    places=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=5),
    end=st.integers(0, 12000),
)
def test_any_bytes_give_images_or_an_error(tmp_path_factory, packed, places, end):
    path = tmp_path_factory.mktemp("shard") / "s.tar"
    archive(path, [*pair(1), *pair(2, "json")], f"w:{packed}")
    content = bytearray(path.read_bytes())
    for place, value in places:
        content[place % len(content)] = value
    path.write_bytes(content[:end])
    for read in (lambda: list(raws(str(path))), lambda: images_in(path)):
        try:
            read()
        except ShardError as error:
            assert "\n" not in str(error)


def test_pipes_run_only_where_that_is_allowed(data, tmp_path, monkeypatch):
    pipe = f"pipe:cat {tmp_path}/t-01.tar"
    (tmp_path / "p.data").write_text(f"classes = 40\ntrain = {pipe}\ntrain_images = 8\n")
    dataset = ShardDataset.from_data(tmp_path / "p.data")
    with pytest.raises(ShardError, match=r"would run a command; set YOLO_PIPES=1"):
        list(dataset)
    monkeypatch.setenv(shards.PIPES, "1")
    assert [int(sample.boxes[0, 0]) for sample in dataset] == list(range(8, 16))
    with pytest.raises(ShardError, match="exit 3"):
        list(raws("pipe:exit 3"))
    (tmp_path / "p.data").write_text(f"classes = 40\ntrain = {pipe}\n")
    with pytest.raises(DataError, match=r"p\.data:2: says no train_images = N"):
        ShardDataset.from_data(tmp_path / "p.data")


def test_shards_over_http(data, tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Quiet, directory=str(tmp_path))
    with answering(handler) as port:
        url = f"http://127.0.0.1:{port}/t-{{01..02}}.tar"
        dataset = ShardDataset(expand(url), 16, 40)
        assert [int(sample.boxes[0, 0]) for sample in dataset] == list(range(8, 24))
        with pytest.raises(ShardError, match="exit 22"):
            list(raws(f"http://127.0.0.1:{port}/gone.tar"))


def test_what_needs_a_list_says_so(data):
    dataset = ShardDataset.from_data(data)
    for ask in (lambda: dataset.entries, lambda: dataset.boxes(0)):
        with pytest.raises(DataError, match=r"my\.data: this needs a list of images, not shards"):
            ask()


def test_what_counts_as_shards():
    assert all(map(is_shards, ("a-{0..9}.tar", "s3://b/c", "pipe:x", "a.tgz", "a.tar.gz")))
    assert not any(map(is_shards, ("train.txt", "tar", "my.tar.txt", "")))
    with pytest.raises(ShardError, match="more than 1000000 shards"):
        expand("t-{0..999999999}.tar")

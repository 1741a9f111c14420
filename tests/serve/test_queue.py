"""The queue before the network: batches, order, askers that give up, faults."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np
import pytest

from tests.serve.small_server import DEFAULTS, NET, Gate, picture
from yolo.cfg import parse
from yolo.errors import YoloError
from yolo.network import Network
from yolo.predict import predict
from yolo.serve.limits import Refusal
from yolo.serve.metrics import Metrics
from yolo.serve.queue import Engine, check


@asynccontextmanager
async def working(engine):
    task = asyncio.create_task(engine.work())
    try:
        yield engine
    finally:
        if isinstance(engine, Gate):
            engine.open.set()
        task.cancel()


def run(work):
    """What the coroutine gives; a queue that stands still fails."""
    return asyncio.run(asyncio.wait_for(work, 20))


def load(seed=0):
    return lambda: picture(seed=seed)


def same(found, expected):
    np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4)
    np.testing.assert_array_equal(found.classes, expected.classes)
    assert found.image_size == expected.image_size


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_every_asker_gets_its_own_detections(batch):
    async def ask():
        async with working(Engine(NET, Metrics(), batch)) as engine:
            return await asyncio.gather(
                *(
                    engine.detect(load(k), DEFAULTS._replace(letterbox=k % 5 == 0))
                    for k in range(20)
                )
            )

    for k, (found, seconds) in enumerate(run(ask())):
        same(found, predict(NET, picture(seed=k), letterbox=k % 5 == 0))
        assert set(seconds) == {"decode", "queue", "network"} and min(seconds.values()) >= 0


async def inside(engine):
    """The task of an asker whose image is in the network; decoders end in any order, so the next
    ones come after it."""
    task = asyncio.create_task(engine.detect(load(), DEFAULTS))
    while not engine._arrival.is_set() or engine._jobs:
        await asyncio.sleep(0.001)
    return task


async def ready(engine, count):
    while len(engine._jobs) < count:
        await asyncio.sleep(0.001)


def test_those_that_wait_share_a_pass_if_their_settings_agree():
    other = DEFAULTS._replace(thresh=0.9)

    async def ask():
        async with working(Gate(NET, Metrics(), batch=4)) as engine:
            asks = [await inside(engine)]
            for k, settings in enumerate([DEFAULTS, other, *4 * [DEFAULTS], DEFAULTS, other]):
                asks.append(asyncio.create_task(engine.detect(load(k), settings)))
                await ready(engine, k + 1)
            engine.open.set()
            await asyncio.gather(*asks)
            return engine.passes

    # Alone; four alike; the two others (half a batch); and the last two of the first kind.
    assert run(ask()) == [1, 4, 2, 2]


def test_one_more_than_may_wait_is_refused():
    async def ask():
        async with working(Gate(NET, Metrics(), waiting=2)) as engine:
            asks = [asyncio.create_task(engine.detect(load(), DEFAULTS)) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(Refusal, match="2 requests") as caught:
                await engine.detect(load(), DEFAULTS)
            assert (caught.value.status, caught.value.retry_after) == (503, 1)
            engine.open.set()
            await asyncio.gather(*asks)
            assert engine.inside == 0
            await engine.detect(load(), DEFAULTS)

    run(ask())


def test_who_gives_up_costs_the_network_nothing():
    async def ask():
        async with working(Gate(NET, Metrics())) as engine:
            asks = [await inside(engine)]
            asks += [asyncio.create_task(engine.detect(load(), DEFAULTS)) for _ in range(4)]
            await ready(engine, 4)
            for task in asks[1:4]:
                task.cancel()
            await asyncio.sleep(0)
            assert engine.inside == 2
            engine.open.set()
            await asyncio.gather(asks[0], asks[4])
            return engine.passes

    assert run(ask()) == [1, 1]


def test_faults_reach_their_asker_and_the_queue_goes_on(monkeypatch):
    async def ask():
        async with working(Engine(NET, Metrics())) as engine:
            whole = engine._look
            engine._look = lambda jobs: 1 / 0
            with pytest.raises(ZeroDivisionError):
                await engine.detect(load(), DEFAULTS)
            engine._look = whole
            with pytest.raises(OSError, match="of the loader"):
                await engine.detect(fails, DEFAULTS)
            assert len((await engine.detect(load(), DEFAULTS))[0])

    def fails():
        raise OSError("of the loader")

    run(ask())


def test_networks_that_find_nothing_in_photographs_are_refused():
    layer = "[convolutional]\nfilters=21\nsize=1\nactivation=linear\n"
    head = "[yolo]\nmask=0,1,2\nanchors=6,9, 20,11, 14,30\nnum=3\nclasses=2\n"
    with pytest.raises(YoloError, match="no head"):
        check(Network(parse(f"[net]\nwidth=8\nheight=8\nchannels=3\n{layer}")))
    with pytest.raises(YoloError, match="1 channels"):
        check(Network(parse(f"[net]\nwidth=8\nheight=8\nchannels=1\n{layer}{head}")))

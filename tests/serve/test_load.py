"""Many askers for a while: no request is lost, and memory does not grow."""

import http.client
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.serve.small_server import NET, encoded, picture, serving, started
from yolo.serve.metrics import Metrics
from yolo.serve.queue import Engine

GOOD = [encoded(picture(60 + k, 80, seed=k), ext) for k, ext in enumerate((".png", ".jpg", ".bmp"))]
KINDS = [  # (path, body, status of the answer)
    *(("/detect", body, 200) for body in GOOD),
    ("/detect?letterbox=1", GOOD[0], 200),
    ("/detect", GOOD[0][:500], 422),
    ("/detect", b"hello", 415),
    ("/detect?thresh=7", GOOD[1], 422),
    ("/detect", None, 400),
]


def ask(port, count, seed):
    """Requests on one connection; how many had another answer than they should."""
    rng = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    wrong = []
    for _ in range(count):
        path, body, expected = rng.choice(KINDS)
        while True:
            connection.request("POST", path, body)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 503:
                break
        if answer.status != expected:
            wrong.append((path, expected, answer.status))
    connection.close()
    return wrong


def load(port, askers, each, seed=0):
    with ThreadPoolExecutor(askers) as pool:
        jobs = [pool.submit(ask, port, each, seed + k) for k in range(askers)]
        return [wrong for job in jobs for wrong in job.result()]


@pytest.mark.parametrize("batch", [1, 4])
def test_no_request_is_lost(batch):
    engine = Engine(NET, Metrics(), batch=batch, waiting=6)
    with serving(engine) as live:
        assert load(live.port, askers=12, each=30) == []
        answers = engine.metrics.answers
        refused = answers["/detect", 503]
        assert sum(answers.values()) - refused == 12 * 30
        looked_at = engine.metrics.images.sum
        assert looked_at == answers["/detect", 200] == sum(engine.metrics.stages["network"].counts)
        assert engine.inside == 0 and not engine._jobs


def resident(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return float(text.split("\nprocess_resident_memory_bytes ")[1].split()[0])


@pytest.mark.long
def test_memory_does_not_grow(files):
    with started(files) as (process, port):
        assert load(port, askers=16, each=50) == []  # pools and arenas reach their size
        sizes = []
        for round_ in range(4):
            assert load(port, askers=16, each=100, seed=100 * round_) == []
            sizes.append(resident(port))
        assert process.poll() is None
    print([f"{size / 2**20:.1f} MiB" for size in sizes])
    assert sizes[-1] - sizes[0] < 4 << 20  # of 6,400 requests

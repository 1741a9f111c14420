"""The HTTP interface, in this process: what is answered and what is refused."""

import asyncio
import json
import re
import sys
from contextlib import contextmanager

import httpx
import pytest
from fastapi import Request

from tests.serve.small_server import NET, encoded, picture, serving
from yolo.predict import predict
from yolo.serve.limits import Limits, Refusal
from yolo.serve.upload import Uploads

LIMITS = Limits(body=40_000, pixels=10_000, detections=5)


@contextmanager
def client_of(engine, limits):
    with serving(engine, limits) as live, httpx.Client(base_url=live.url, timeout=20) as made:
        yield made


@pytest.fixture
def client(engine):
    with client_of(engine, LIMITS) as made:
        yield made


def expected(image, **settings):
    content = predict(NET, image, **settings).to_dict()
    return content["detections"]


@pytest.mark.parametrize(
    "query, settings",
    [
        ("", {}),
        ("?thresh=0.26", {"thresh": 0.26}),
        ("?thresh=0.01&nms=1", {"thresh": 0.01, "nms": 1.0}),
        ("?letterbox=true&nms=0", {"letterbox": True, "nms": 0.0}),
    ],
)
def test_the_answer_is_what_predict_gives(engine, query, settings):
    image = picture()
    with client_of(engine, Limits()) as client:
        raw = client.post(f"/detect{query}", content=encoded(image))
        form = client.post(f"/detect{query}", files={"image": ("a.png", encoded(image))})
    assert raw.status_code == form.status_code == 200
    assert raw.json() == form.json()
    answer = raw.json()
    assert answer["image_size"] == [48, 60] and answer["left_out"] == 0
    wanted = expected(image, **settings)
    assert wanted
    assert [one["class_id"] for one in answer["detections"]] == [w["class_id"] for w in wanted]
    for one, want in zip(answer["detections"], wanted, strict=True):
        assert one["name"] == want["name"]
        assert one["score"] == pytest.approx(want["score"], rel=1e-5)
        assert one["box_xyxy"] == pytest.approx(want["box_xyxy"], rel=1e-4, abs=1e-3)


def test_only_the_surest_are_told(client):
    image = picture()
    answer = client.post("/detect?thresh=0.05&nms=1", content=encoded(image)).json()
    all_of_them = expected(image, thresh=0.05, nms=1.0)
    assert len(answer["detections"]) == 5 and answer["left_out"] == len(all_of_them) - 5
    scores = [one["score"] for one in answer["detections"]]
    assert scores == pytest.approx([one["score"] for one in all_of_them[:5]])


def refused(answer, status, code):
    """The sentence of a refusal, after checking the rest."""
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert set(content) == {"error"} and set(content["error"]) == {"status", "code", "message"}
    assert content["error"]["status"] == status and content["error"]["code"] == code
    return content["error"]["message"]


@pytest.mark.parametrize(
    "query, word",
    [
        ("thresh=nan", "thresh"),
        ("thresh=inf", "thresh"),
        ("thresh=0", "thresh"),
        ("thresh=1.5", "thresh"),
        ("nms=-0.1", "nms"),
        ("nms=x", "nms"),
        ("letterbox=perhaps", "letterbox"),
        ("tresh=0.5", "tresh"),
        ("path=/etc/passwd", "path"),
    ],
)
def test_parameters_out_of_range_or_unknown(client, query, word):
    answer = client.post(f"/detect?{query}", content=encoded(picture()))
    assert word in refused(answer, 422, "bad_parameter")


def test_refusals(client):
    refused(client.post("/detect"), 400, "empty")
    refused(client.post("/detect", content=b"hello"), 415, "not_an_image")
    refused(client.post("/detect", content=encoded(picture())[:-900]), 422, "damaged")
    refused(client.post("/detect", content=encoded(picture(100, 101))), 413, "too_many_pixels")
    refused(client.post("/detect", content=bytes(40_001)), 413, "too_large")
    refused(client.post("/detect", content=iter(50 * [bytes(1000)])), 413, "too_large")  # chunked
    refused(client.post("/detect", headers={"Content-Encoding": "gzip"}), 415, "encoded")
    refused(client.post("/detect", headers={"Content-Type": 501 * "x"}), 400, "bad_request")
    both = {"Transfer-Encoding": "chunked", "Content-Length": "5"}
    refused(client.post("/detect", content=b"0\r\n\r\n", headers=both), 400, "bad_request")
    refused(client.post("/detect", headers={"Sec-Fetch-Site": "cross-site"}), 403, "cross_site")
    refused(client.get("/detect"), 405, "not_served")
    refused(client.get("/nowhere"), 404, "not_served")
    refused(client.get("/docs"), 404, "not_served")


def test_a_path_is_not_an_image(client, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture()))
    refused(client.post("/detect", content=str(path).encode()), 415, "not_an_image")


def test_a_fault_says_nothing_of_its_cause(client, engine):
    engine._look = lambda jobs: (_ for _ in ()).throw(ValueError("secret"))
    answer = client.post("/detect", content=encoded(picture()))
    refused(answer, 500, "fault")
    assert "secret" not in answer.text


def test_full_says_when_to_come_back(client, engine):
    engine.limit = 0
    answer = client.post("/detect", content=encoded(picture()))
    refused(answer, 503, "busy")
    assert answer.headers["retry-after"] == "1"


def test_bodies_in_memory_are_bounded_together():
    uploads = Uploads(Limits(body=1000, bodies=1500))
    uploads.held = 600

    async def upload():
        async def receive():
            return {"type": "http.request", "body": bytes(901), "more_body": False}

        async with uploads.body(Request({"type": "http", "headers": []}, receive)):
            pass

    with pytest.raises(Refusal) as caught:
        asyncio.run(upload())
    assert caught.value.status == 503 and uploads.held == 600


def test_health(client):
    answer = client.get("/health")
    assert answer.status_code == 200
    content = answer.json()
    assert content["status"] == "ok" and content["input"] == {"height": 32, "width": 64}


SAMPLE = re.compile(r'([a-z_]+)(\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})? (\S+)')


def samples(text):
    """{name and labels: value}; every line must be of Prometheus' text format."""
    found, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            types[name] = kind
        elif not line.startswith("# HELP"):
            name, labels, value = SAMPLE.fullmatch(line).groups()
            base = re.sub("_(bucket|sum|count)$", "", name)
            assert types.get(base) == "histogram" or name in types, line
            found[name + (labels or "")] = float(value)
    return found


def test_metrics(client):
    for body in (encoded(picture()), encoded(picture()), b"hello"):
        client.post("/detect", content=body)
    client.get("/../../etc/passwd")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = samples(answer.text)
    assert found['yolo_requests_total{path="/detect",status="200"}'] == 2
    assert found['yolo_requests_total{path="/detect",status="415"}'] == 1
    assert found['yolo_requests_total{path="other",status="404"}'] == 1
    assert found["yolo_objects_total"] == 2 * len(expected(picture()))
    assert found["yolo_network_seconds_count"] == found["yolo_batch_images_count"] == 2
    assert found['yolo_network_seconds_bucket{le="+Inf"}'] == 2
    assert 0 < found["yolo_network_seconds_sum"] < 10
    assert found["yolo_waiting"] == found["yolo_held_bytes"] == 0
    assert found["process_resident_memory_bytes"] > 1e6


def test_the_stages_are_told(client):
    timing = client.post("/detect", content=encoded(picture())).headers["server-timing"]
    assert re.fullmatch(r"upload;dur=[\d.]+, decode;dur=.+, queue;dur=.+, network;dur=.+", timing)


def test_the_page_needs_nothing_else(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", answer.text)
    assert "{{" not in answer.text


def test_every_answer_has_the_headers(client):
    for answer in (client.get("/"), client.get("/nowhere"), client.post("/detect")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_the_interface_describes_itself(client):
    operation = client.get("/openapi.json").json()["paths"]["/detect"]["post"]
    assert {p["name"] for p in operation["parameters"]} == {"thresh", "nms", "letterbox"}
    assert set(operation["requestBody"]["content"]) == {"image/*", "multipart/form-data"}


opened = None  # a list while the audit below watches


def _audit(event, arguments):
    if opened is not None and event in ("open", "os.mkdir", "os.rename", "tempfile.mkstemp"):
        opened.append((event, str(arguments[0])))


def test_nothing_touches_the_disk(engine):
    global opened
    with client_of(engine, Limits()) as client:
        body = encoded(picture(1000, 1500), ".bmp")  # 4.5 MB: enough to be spooled to a file
        files = {"image": ("../../../tmp/evil.bmp", body)}
        client.post("/detect", files=files)  # what is imported late is imported now
        sys.addaudithook(_audit)
        opened = []
        try:
            assert client.post("/detect", files=files).status_code == 200
            assert client.post("/detect", content=body).status_code == 200
            client.post("/detect", content=b"/etc/passwd")
            client.get("/..%2f..%2fetc/passwd")
            client.get("/page.html")
            seen, opened = opened, None
        finally:
            opened = None
    assert seen == [], json.dumps(seen)

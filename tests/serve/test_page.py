"""The page in headless Chromium: images, sliders, camera, and the pixels that people see."""

import base64
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import yolo
from tests.serve.small_server import DEFAULTS, NET, encoded, picture, serving
from yolo.data import read_names
from yolo.predict import predict
from yolo.serve.limits import Limits
from yolo.serve.metrics import Metrics
from yolo.serve.page import page, policy
from yolo.serve.queue import Engine

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PHOTOS = Path(__file__).resolve().parents[3] / "shared/data"


def test_names_cannot_leave_their_element():
    net = yolo.Network(NET.sections)
    net.cfg_path = "</script><script>alert(1).cfg"
    html = page(net, DEFAULTS, Limits())
    assert "<script>alert" not in html and html.count("<script>") == 1
    assert policy(html).count("sha256") == 2


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--window-size=1280,800", "--use-fake-device-for-media-stream"),
        "--use-fake-ui-for-media-stream",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def network():
    """(network, image file's bytes): of a real detector where there is one, else the small one."""
    if not PHOTOS.is_dir():
        return NET, encoded(picture(480, 640))
    stem = PHOTOS / "weights/yolo-fastest-1.1"
    net = yolo.load(stem.with_name(f"{stem.name}.cfg"), stem.with_name(f"{stem.name}.weights"))
    net.names = read_names(str(PHOTOS / "weights/coco.names"))
    return net, (PHOTOS / "photos/dog.jpg").read_bytes()


@pytest.fixture
def live(network, browser):
    with serving(Engine(network[0], Metrics())) as live:
        browser.get(f"http://127.0.0.1:{live.port}/")
        yield live
        wrong = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        browser.get("about:blank")
    assert [w for w in wrong if "status of 4" not in w["message"]] == []


def text(browser, name):
    return browser.find_element("id", name).text


def wait(condition, seconds=20):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


def choose(browser, tmp_path, content):
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    browser.find_element("id", "file").send_keys(str(path))


def answered(live, status=200):
    return live.engine.metrics.answers["/detect", status]


def decoded(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)


def slide(browser, name, value):
    """Moves a slider as a hand does: the value, then the event."""
    browser.execute_script(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('input', {bubbles: true}))", name, value,
    )  # fmt: skip


def test_an_image_its_boxes_and_the_sliders(browser, live, network, tmp_path):
    net, content = network
    found = predict(net, decoded(content), thresh=0.05)
    choose(browser, tmp_path, content)
    wait(lambda: answered(live) == 1 and int(text(browser, "count")))
    for thresh in (0.25, 0.05, 0.5, 0.99):
        slide(browser, "thresh", thresh)
        wait(lambda thresh=thresh: int(text(browser, "count")) == (found.scores > thresh).sum())
    assert (found.scores > 0.25).sum() != (found.scores > 0.05).sum()
    assert answered(live) == 1  # the slider asks nobody
    slide(browser, "thresh", 0.05)
    for overlap in (0.6, 0.7, 1):
        slide(browser, "overlap", overlap)
    count = len(predict(net, decoded(content), thresh=0.05, nms=1.0))
    wait(lambda: int(text(browser, "count")) == count)
    assert answered(live) == 2  # three moves, one more request


def colours(browser):
    """RGB pixels of the canvas."""
    url = browser.execute_script("return document.getElementById('canvas').toDataURL('image/png')")
    return decoded(base64.b64decode(url.partition(",")[2]))


def test_the_pixels_of_the_boxes(browser, live, network, tmp_path):
    net, content = network
    choose(browser, tmp_path, content)
    wait(lambda: int(text(browser, "count")))
    browser.save_screenshot(str(tmp_path / "page.png"))
    drawn = colours(browser)
    found = predict(net, decoded(content)).clipped()
    scale = drawn.shape[1] / found.image_size[1]
    surest = found[0]
    x1, _, x2, y2 = (round(value * scale) for value in surest.box_xyxy)
    colour = np.array(yolo.detections.class_colour(surest.class_id))
    edge = drawn[y2 - 2 : y2 + 3, (x1 + x2) // 2].astype(int)
    assert (abs(edge - colour).max(1) < 40).any(), (edge, colour)
    dots = browser.execute_script("return document.querySelectorAll('#list li').length")
    assert dots == len(found)


def drop(browser, content, name="a.jpg"):
    browser.execute_script(
        """const bytes = Uint8Array.from(atob(arguments[0]), c => c.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], arguments[1]));
        const how = {dataTransfer: data, bubbles: true, cancelable: true};
        const stage = document.getElementById("stage");
        for (const kind of ["dragover", "drop"]) stage.dispatchEvent(new DragEvent(kind, how));""",
        base64.b64encode(content).decode(),
        name,
    )


def test_dropping_and_hiding_a_class(browser, live, network):
    drop(browser, network[1])
    wait(lambda: int(text(browser, "count")))
    before = int(text(browser, "count"))
    chip = browser.find_element("css selector", ".chip")
    hidden = int(chip.text.split()[-1])
    chip.click()
    assert int(text(browser, "count")) == before - hidden
    browser.find_element("css selector", ".chip").click()
    assert int(text(browser, "count")) == before


def test_what_is_refused_is_said(browser, live, network):
    drop(browser, b"no image")
    wait(lambda: "not an image" in text(browser, "message"))
    drop(browser, network[1])
    wait(lambda: int(text(browser, "count")))
    assert not browser.find_element("id", "message").is_displayed()


def test_what_the_browser_cannot_show(browser, live, network):
    drop(browser, encoded(decoded(network[1]), ".ppm"))
    wait(lambda: int(text(browser, "count")))
    assert "cannot show" in text(browser, "message")


def test_the_camera(browser, live):
    button = browser.find_element("id", "camera")
    button.click()
    wait(lambda: answered(live) >= 4)
    wait(lambda: "frames a second" in text(browser, "timing"))
    assert colours(browser).std() > 1  # Chromium's false camera shows green with a moving pie
    button.click()
    wait(lambda: button.get_attribute("aria-pressed") == "false")
    time.sleep(0.3)
    seen = answered(live)
    time.sleep(0.3)
    assert answered(live) == seen

"""Stand-ins for cameras, and short pauses."""

import cv2
import pytest

from tests.live.live_source import Camera
from yolo.data import live


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(live, "PAUSE", 0.001)
    monkeypatch.setattr(live, "GRACE", 0.2)


@pytest.fixture
def camera(monkeypatch):
    """camera(...) -> the Camera that OpenCV opens from now on."""

    def install(*connections, **settings):
        made = Camera(*connections, **settings)
        monkeypatch.setattr(cv2, "VideoCapture", made)
        return made

    return install

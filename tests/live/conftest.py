"""Stand-ins for cameras, and short pauses."""

import sys
from pathlib import Path

import cv2
import pytest

from yolo.data import live

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not
from live_source import Camera


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

"""A folder of tiny files for each document, and the working directory within it."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not

import stage
from blocks import ROOT


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage")
    stage.build(folder, ROOT)
    return folder


@pytest.fixture
def folder(template, tmp_path, monkeypatch):
    """A copy of it, to be in."""
    where = tmp_path / "stage"
    shutil.copytree(template, where)
    monkeypatch.chdir(where)
    for room in ("detector", "classifier"):  # drawn pictures held out; two hundred take seconds
        monkeypatch.setattr(f"yolo.job.{room}.VALID_LENGTH", 8)
    return where


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small only wait for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

"""A folder of tiny files for each document, and the working directory within it."""

import shutil

import pytest

from tests.docs import stage
from tests.docs.blocks import ROOT


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage")
    stage.build(folder, ROOT)
    return folder


@pytest.fixture
def folder(template, tmp_path, monkeypatch, one_thread, no_chart, few_drawn):
    """A copy of it, to be in."""
    where = tmp_path / "stage"
    shutil.copytree(template, where)
    monkeypatch.chdir(where)
    monkeypatch.setattr("yolo.figures.census", lambda *_: None)  # as slow to draw as charts
    return where

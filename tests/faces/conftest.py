"""The published stages, loaded from their arrays."""

import pytest

import yolo.faces

STAGES = ("pnet", "rnet", "onet")


@pytest.fixture
def stages(shared, cfg_folder):
    """[(cfg, values)] of the three stages."""
    return [(cfg_folder / f"{n}.cfg", shared / "data" / "mtcnn" / f"{n}.npz") for n in STAGES]


@pytest.fixture
def finder(stages):
    return yolo.faces.load(*stages)

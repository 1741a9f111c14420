"""Faces, by the three networks of MTCNN.

stages = [(f"cfg/{name}.cfg", f"{name}.weights") for name in ("pnet", "rnet", "onet")]
finder = yolo.faces.load(*stages)
found = finder("people.jpg")  # Faces: boxes_xyxy, scores, landmarks
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from .. import weights as weights_file
from ..cfg import read
from ..network import Network
from .cascade import Cascade
from .found import LANDMARKS, Faces

if TYPE_CHECKING:
    import torch

    Stage = tuple[str | PathLike[str], str | PathLike[str]]

__all__ = ["LANDMARKS", "Cascade", "Faces", "load"]


def load(pnet: Stage, rnet: Stage, onet: Stage, device: str | torch.device = "cpu") -> Cascade:
    """The cascade of three networks, each given as (cfg, weights)."""

    def stage(cfg, weights):
        net = Network(read(cfg))
        weights_file.load(net, weights, strict=True)
        return net.to(device).eval()

    return Cascade(stage(*pnet), stage(*rnet), stage(*onet))

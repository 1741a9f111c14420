"""Regions of interest between layers.

[rpn] hands on regions: a tensor (R, 5, 1, 1) of image, left, top, right, bottom, the edges relative
to the network's input. A layer that reads them gives an output for each region, and so do the
layers that follow: their tensors are (R, C, H, W), their `regions` says whose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .layer import MAX_OUTPUTS, Layer, times

if TYPE_CHECKING:
    from ..loss.sampling import Sampling


@dataclass
class Regions:
    """Those of one [rpn]."""

    layer: int  # its number
    proposals: int  # regions of an image
    sampling: Sampling | None = None  # what a [fast_rcnn] draws from them in training

    @property
    def trained(self) -> int:
        """Regions of an image in training, at most."""
        return self.sampling.count if self.sampling else self.proposals


def named_regions(layer, place):
    """(number of the layer that `rois` names, its Regions); refuses any other than an [rpn]."""
    (index,) = layer.refer_one(place, "rois")
    found = place.regions.get(index)
    if found is None or found.layer != index:
        other = place.layers[index].section.name
        raise layer.section.error(
            f"rois names layer {index}, [{other}]: an [rpn] is needed", "rois"
        )
    return index, found


class RoiLayer(Layer):
    """Cuts the regions of `rois` out of the map `features`, each as height x width bins."""

    constant_inputs = (1,)

    def __init__(self, section, place):
        super().__init__(section, place)
        self.size = section.int("height", 7, 1, 1000), section.int("width", 7, 1, 1000)
        self.read_own(section)
        rois, self._named = named_regions(self, place)
        self.sources = [*self.refer_one(place, "features"), rois]
        self.begin(place)
        self._check_outputs()

    def read_own(self, section):
        """Keys that only one of the two has."""

    def join(self, place):
        if place.regions.get(self.sources[0]) is not None:
            raise self.section.error(
                f"features names layer {self.sources[0]}, whose output is regions of interest: a "
                "map of whole images is needed",
                "features",
            )
        return self._named

    def shape(self, x, rois):
        return x[0], *self.size

    def _check_outputs(self):
        """All regions of an image together keep the limit of a layer."""
        channels, count = self.out_shape[0], self.regions.proposals
        if count * channels * self.size[0] * self.size[1] > MAX_OUTPUTS:
            raise self.section.error(
                f"would put out {count} regions of {times(self.out_shape)} for one image; no more "
                f"than {MAX_OUTPUTS:,} elements are allowed"
            )

    def describe(self):
        return "", f"{self.size[1]} x {self.size[0]}"

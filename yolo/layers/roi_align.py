"""[roi_align]  map (C, H, W), regions -> (C, height, width) of each region: means of interpolated
points (Mask R-CNN)."""

from math import prod

from ..ops import roi_align
from .roi import RoiLayer


class RoiAlign(RoiLayer):
    """y = mean of samples x samples points of each bin."""

    def read_own(self, section):
        self.samples = section.int("samples", 2, 1, 100)

    def forward(self, x, rois):
        return roi_align(x, rois.flatten(1), self.size, self.samples)

    def flops(self):
        # of one region: four products and sums a point
        return 8 * self.samples**2 * prod(self.out_shape)

"""[roi_pool]  map (C, H, W), regions -> (C, height, width) of each region: largest values of whole
cells (Fast R-CNN)."""

from ..ops import roi_pool
from .roi import RoiLayer


class RoiPool(RoiLayer):
    """y = largest value of each bin."""

    def forward(self, x, rois):
        return roi_pool(x, rois.flatten(1), self.size)

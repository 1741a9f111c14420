"""[crop]  a part of the image, its values 0..1 as -1..1 (noadjust=1: as they are).

In training a random part of each image, mirrored at random (flip=1); otherwise the middle.
"""

import torch

from .layer import Layer

INSTEAD = "the data loader turns and colours images; set it in [net]"


class Crop(Layer):
    """Cuts crop_height x crop_width pixels out; on resizing the share of the image stays."""

    changes = "where it cuts is drawn on the CPU"

    def __init__(self, section, place):
        super().__init__(section, place)
        self.crop = section.int("crop_height", 1, 1), section.int("crop_width", 1, 1)
        self.flip = section.bool("flip", False)
        self.noadjust = section.bool("noadjust", False)
        for key, neutral in {"angle": 0, "saturation": 1, "exposure": 1, "shift": 0}.items():
            if section.float(key, neutral) != neutral:
                section.warn(f"{key} has no effect: {INSTEAD}", key)
        self.full = place.shapes[self.sources[0]][1:]
        self.begin(place)

    def shape(self, x):
        sizes = zip(self.crop, self.full, x[1:], strict=True)
        rows, cols = (crop * cells // full for crop, full, cells in sizes)
        if rows > x[1] or cols > x[2]:
            raise self.section.error(
                f"crop_height={self.crop[0]}, crop_width={self.crop[1]} do not fit into the input "
                f"{x[1]} x {x[2]}",
                "crop_height" if rows > x[1] else "crop_width",
            )
        return x[0], rows, cols

    def forward(self, x):
        down, across = (a - b for a, b in zip(x.shape[2:], self.out_shape[1:], strict=True))
        if self.training:
            y = torch.stack([self._random(image, down, across) for image in x])
        else:
            y = self._part(x, down // 2, across // 2)
        return y if self.noadjust else 2 * y - 1

    def _part(self, x, top, left):
        return x[..., top : top + self.out_shape[1], left : left + self.out_shape[2]]

    def _random(self, image, down, across):
        top, left, mirrored = (int(torch.randint(n, ())) for n in (down + 1, across + 1, 2))
        part = self._part(image, top, left)
        return part.flip(-1) if self.flip and mirrored else part

    def describe(self):
        return "", f"{self.out_shape[1]} x {self.out_shape[2]}"

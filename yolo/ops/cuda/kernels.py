"""The CUDA kernels as methods: checks of layout, memory for the result, the call."""

import ctypes
from ctypes import c_float, c_void_p

import torch

from .conv import ConvKernels
from .layout import pointer, rows
from .norm import NormKernels
from .pool import PoolKernels
from .structs import TYPES, Detect, Parameter


class Kernels(ConvKernels, NormKernels, PoolKernels):
    """All functions of one library."""

    # -- heads ------------------------------------------------------------------------------

    def detect(self, grids, settings, found, beta=-1.0):
        """Boxes of [yolo] heads after suppression, into `found`.

        grids: (raw map (n, anchors * (5 + classes), h, w) in NHWC, [(w, h) of an anchor relative to
        the input], scale_x_y, whether the map is activated). settings: float (2 + 8 n), see
        csrc/cuda/detect.cu. found: Found. beta: the exponent of DIoU, negative for IoU."""
        n, capacity, classes = found.probs.shape
        call = Detect(n, classes, capacity, len(grids), TYPES[grids[0][0].dtype], beta)
        for grid, (x, anchors, scale_x_y, activated) in zip(call.grids, grids, strict=False):
            grid.x, grid.h, grid.w = rows(x), *x.shape[2:]
            grid.anchors, grid.activated, grid.scale_x_y = len(anchors), activated, scale_x_y
            for i, (width, height) in enumerate(anchors):
                grid.widths[i], grid.heights[i] = width, height
        call.settings, call.counts, call.cells = map(pointer, (settings, found.counts, found.cells))
        call.boxes, call.probs, call.kept = map(pointer, (found.boxes, found.probs, found.kept))
        self.call("yolo_cuda_detect", settings.device, ctypes.byref(call))

    # -- optimiser --------------------------------------------------------------------------

    def parameter_table(self, entries, device):
        """Table for update() of (weight, grad or None, update, 16-bit copy or None, decay, rate,
        limit, clip)."""
        table = (Parameter * len(entries))()
        for row, (weight, grad, update, half, *numbers) in zip(table, entries, strict=True):
            row.weight, row.grad, row.update, row.half = map(pointer, (weight, grad, update, half))
            row.count = weight.numel()
            row.decay, row.rate, row.limit, row.clip = numbers
            row.half_type = 0 if half is None else TYPES[half.dtype]
        table = torch.frombuffer(table, dtype=torch.uint8)
        # pinned, or the copy would wait for all that runs on the device
        return table.pin_memory().to(device, non_blocking=True) if self.on_cuda else table

    def update(self, table, count, rate, momentum, clear=True):
        """u <- update - grad - decay * w; w <- w + rate * u; update <- momentum * u; grad <- 0."""
        self.call(
            "yolo_cuda_update",
            table.device,
            c_void_p(table.data_ptr()),
            count,
            c_float(rate),
            c_float(momentum),
            int(clear),
        )

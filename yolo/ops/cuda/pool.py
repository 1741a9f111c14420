"""Pools, enlargement, rearrangement, regions of interest: one method a kernel and pass."""

import ctypes

import torch

from .layout import empty_nhwc, pixels_last, pointer, rows
from .library import Library
from .structs import FORWARD, GRAD_X, SPP_LEVELS, TYPES, Pool, Reorg, Roi, Spp, Upsample


class PoolKernels(Library):
    """Tensors (n, c, h, w); a: a PoolShape."""

    def maxpool_forward(self, a, x, out=None, with_index=True):
        """y, index or None; out: NHWC tensor, or slice of one along the channels, that receives
        y."""
        x, y = pixels_last(x), empty_nhwc(x, (a.n, a.c, a.p, a.q)) if out is None else out
        index = empty_nhwc(x, (a.n, a.c, a.p, a.q), dtype=torch.int32) if with_index else None
        self._pool(a, FORWARD, x, y, index)
        return y, index

    def maxpool_grad_x(self, a, grad_y, index):
        """index: as maxpool_forward gave it."""
        grad_x = empty_nhwc(grad_y, (a.n, a.c, a.h, a.w))
        self._pool(a, GRAD_X, grad_x, pixels_last(grad_y), index)
        return grad_x

    def _pool(self, a, pass_, x, y, index):
        call = Pool(a.n, a.c, a.h, a.w, a.p, a.q, *a.size, *a.stride, *a.offset, TYPES[x.dtype])
        call.x, call.y, call.index = rows(x), rows(y), pointer(index)
        self.call("yolo_cuda_maxpool", x.device, ctypes.byref(call), pass_)

    def spp_forward(self, x, sizes, ys=None, with_codes=True):
        """[y of each pool], codes or None. sizes: odd, growing, see csrc/cuda/spp.cu; ys: as `out`
        of maxpool_forward."""
        x = pixels_last(x)
        n, c, h, w = x.shape
        ys = [empty_nhwc(x, x.shape) for _ in sizes] if ys is None else ys
        codes = None
        if with_codes:
            codes = empty_nhwc(x, (len(sizes) * n, c, h, w), dtype=torch.uint8)
            codes = codes.permute(0, 2, 3, 1).view(len(sizes), n, h, w, c)
        self._spp(FORWARD, x, sizes, ys, codes)
        return ys, codes

    def spp_grad_x(self, grads, codes, sizes, other=None):
        """codes: as spp_forward gave them; other: of x, added to the result."""
        grads, grad_x = list(map(pixels_last, grads)), empty_nhwc(grads[0], grads[0].shape)
        other = None if other is None else pixels_last(other)
        self._spp(GRAD_X, grad_x, sizes, grads, codes, other)
        return grad_x

    def _spp(self, pass_, x, sizes, ys, codes, other=None):
        call = Spp(*x.shape, len(sizes), type=TYPES[x.dtype], x=rows(x), other=rows(other))
        known = list(zip(sizes, ys, strict=True))[:SPP_LEVELS]  # more are refused by their number
        for level, (size, y) in enumerate(known):
            call.size[level], call.y[level] = size, rows(y)
        call.codes = pointer(codes)
        self.call("yolo_cuda_spp", x.device, ctypes.byref(call), pass_)

    def avgpool_forward(self, x, out=None):
        n, c, h, w = x.shape
        x, y = pixels_last(x), empty_nhwc(x, (n, c, 1, 1)) if out is None else out
        self._avgpool(FORWARD, x, y, h, w)
        return y

    def avgpool_grad_x(self, grad_y, h, w):
        grad_x = empty_nhwc(grad_y, (*grad_y.shape[:2], h, w))
        self._avgpool(GRAD_X, grad_x, pixels_last(grad_y), h, w)
        return grad_x

    def _avgpool(self, pass_, x, y, h, w):
        call = Pool(n=x.shape[0], c=x.shape[1], h=h, w=w, type=TYPES[x.dtype], x=rows(x), y=rows(y))
        self.call("yolo_cuda_avgpool", x.device, ctypes.byref(call), pass_)

    def reorg(self, x, sizes, reverse):
        """Each image of x as one row; sizes: depth, h, w, stride of the smaller map."""
        depth, h, w, stride = sizes
        x, y = x.contiguous(), x.new_empty((x.shape[0], depth * h * w * stride**2))
        call = Reorg(x.shape[0], depth, h, w, stride, int(reverse), TYPES[x.dtype])
        call.x, call.y = pointer(x), pointer(y)
        self.call("yolo_cuda_reorg", x.device, ctypes.byref(call))
        return y

    def upsample_forward(self, x, stride, scale=1.0, out=None):
        n, c, h, w = x.shape
        x = pixels_last(x)
        y = empty_nhwc(x, (n, c, h * stride, w * stride)) if out is None else out
        self._upsample(FORWARD, x, y, stride, scale)
        return y

    def upsample_grad_x(self, grad_y, stride, scale=1.0):
        n, c, h, w = grad_y.shape
        grad_x = empty_nhwc(grad_y, (n, c, h // stride, w // stride))
        self._upsample(GRAD_X, grad_x, pixels_last(grad_y), stride, scale)
        return grad_x

    def _upsample(self, pass_, x, y, stride, scale):
        call = Upsample(*x.shape, stride, TYPES[x.dtype], scale, rows(x), rows(y))
        self.call("yolo_cuda_upsample", x.device, ctypes.byref(call), pass_)

    # -- regions of interest ----------------------------------------------------------------

    def roi_align_forward(self, x, rois, size, samples):
        """y (r, c, p, q); rois: (r, 5), converted to the type that x is computed in."""
        x, y = pixels_last(x), empty_nhwc(x, (len(rois), x.shape[1], *size))
        self._roi("align", FORWARD, x, y, rois, None, samples)
        return y

    def roi_align_grad_x(self, grad_y, rois, shape, samples):
        grad_x = empty_nhwc(grad_y, shape)
        self._roi("align", GRAD_X, grad_x, pixels_last(grad_y), rois, None, samples)
        return grad_x

    def roi_pool_forward(self, x, rois, size):
        """y, index."""
        x, y = pixels_last(x), empty_nhwc(x, (len(rois), x.shape[1], *size))
        index = empty_nhwc(x, y.shape, dtype=torch.int32)
        self._roi("pool", FORWARD, x, y, rois, index)
        return y, index

    def roi_pool_grad_x(self, grad_y, rois, index, shape):
        """index: as roi_pool_forward gave it."""
        grad_x = empty_nhwc(grad_y, shape)
        self._roi("pool", GRAD_X, grad_x, pixels_last(grad_y), rois, index)
        return grad_x

    def _roi(self, kind, pass_, x, y, rois, index, samples=0):
        number = torch.float64 if x.dtype == torch.float64 else torch.float32
        regions = rois.to(number).contiguous()
        call = Roi(*x.shape, len(regions), *y.shape[2:], samples, TYPES[x.dtype], rows(x), rows(y))
        call.regions, call.index = pointer(regions), pointer(index)
        self.call(f"yolo_cuda_roi_{kind}", x.device, ctypes.byref(call), pass_)

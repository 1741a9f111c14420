"""Regions of interest, each cut out of a map as p x q bins, whatever its size.

    roi_align   y[r,c,p,q] = mean over s x s points of the bin of x[image of r,c], interpolated
                between the centres of four cells (Mask R-CNN)
    roi_pool    y[r,c,p,q] = largest x of the cells of the bin, the region's edges rounded to cells,
                both ends inclusive (Fast R-CNN)

A region is image, left, top, right, bottom, the edges relative to the map: 0 and 1 are its borders.
What lies outside of the map counts 0. Regions are constants: they get no gradient.

Twins: two matrix products with interpolation weights; a loop over bins.
"""

import torch

from .backend import uses_torch
from .grad import first_order
from .native import library, threads
from .operator import operator, result
from .shapes import ShapeError, pair, same_type


def roi_align(x, rois, size, samples=2):
    """x (n, c, h, w), rois (r, 5) -> (r, c, *size); samples: along each side of a bin."""
    size = _check("roi_align", x, rois, size)
    if samples < 1:
        raise ShapeError(f"roi_align: samples must be at least 1, got {samples}")
    rois = rois.detach()
    if uses_torch():
        return _align_twin(x, rois, size, samples)
    return _RoiAlign.apply(x, rois, size, samples)


def roi_pool(x, rois, size):
    """x (n, c, h, w), rois (r, 5) -> (r, c, *size); of equals the first of a bin gets grad_y."""
    size = _check("roi_pool", x, rois, size)
    rois = rois.detach()
    if uses_torch():
        return _pool_twin(x, rois, size)
    return _RoiPool.apply(x, rois, size)


def _check(what, x, rois, size):
    size = pair(size)
    if x.dim() != 4 or x.shape[1:].numel() == 0 or rois.dim() != 2 or rois.shape[1] != 5:
        raise ShapeError(
            f"{what}: needs x (n, c, h, w) and rois (r, 5), got {tuple(x.shape)} and "
            f"{tuple(rois.shape)}"
        )
    if min(size) < 1:
        raise ShapeError(f"{what}: size must be at least 1, got {size}")
    same_type(what, x=x)
    return size


# ---- twins ----


def _align_twin(x, rois, size, samples):
    h, w = x.shape[2:]
    rows = _weights(rois[:, 2], rois[:, 4], h, size[0], samples).to(x)
    cols = _weights(rois[:, 1], rois[:, 3], w, size[1], samples).to(x)
    return torch.einsum("rph,rchw,rqw->rcpq", rows, x[rois[:, 0].long()], cols)


def _weights(low, high, size, bins, samples):
    """(r, bins, size): how much of each cell is in each bin, along one axis."""
    step = torch.arange(bins * samples, device=low.device).to(low) + 0.5
    place = (low + (high - low) * step[:, None] / (bins * samples)).T * size - 0.5
    inside = (place >= -1) & (place <= size)
    cell = torch.arange(size, device=low.device).to(low)
    hat = (1 - (place.clamp(0, size - 1)[:, :, None] - cell).abs()).clamp(min=0)
    return (hat * inside[:, :, None]).unflatten(1, (bins, samples)).mean(2)


def _pool_twin(x, rois, size):
    rows, cols = (_bins(rois[:, i], rois[:, i + 2], x.shape[4 - i], size[2 - i]) for i in (2, 1))
    regions = []
    for r, image in enumerate(rois[:, 0].long().tolist()):
        bins = [
            _largest(x[image, :, top:bottom, left:right])
            for top, bottom in rows[r]
            for left, right in cols[r]
        ]
        regions.append(torch.stack(bins, 1).unflatten(1, size))
    return torch.stack(regions) if regions else x.flatten()[:0].view(0, x.shape[1], *size)


def _bins(low, high, size, bins):
    """[[(first, last)]] of each region: its bins' cells along one axis."""
    first = (low * size + 0.5).floor().long()
    count = ((high * size + 0.5).floor().long() - first + 1).clamp(min=1)
    edges = []
    for start, cells in zip(first.tolist(), count.tolist(), strict=True):
        spans = [(b * cells // bins, -(-(b + 1) * cells // bins)) for b in range(bins)]
        edges.append([tuple(min(max(start + e, 0), size) for e in span) for span in spans])
    return edges


def _largest(cells):
    flat = cells.flatten(1)
    return flat.max(1).values if flat.shape[1] else flat.sum(1)


# ---- kernels ----


class _RoiAlign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, rois, size, samples):
        ctx.shape, ctx.samples = x.shape, samples
        ctx.save_for_backward(rois)
        return _align(x, rois, size, samples)

    @staticmethod
    @first_order("roi_align")
    def backward(ctx, grad_y):
        (rois,) = ctx.saved_tensors
        return _align_backward(grad_y, rois, ctx.shape, ctx.samples), None, None, None


class _RoiPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, rois, size):
        y, at = _pool(x, rois, size)
        ctx.shape = x.shape
        ctx.save_for_backward(rois, at)
        return y

    @staticmethod
    @first_order("roi_pool")
    def backward(ctx, grad_y):
        return _pool_backward(grad_y, *ctx.saved_tensors, ctx.shape), None, None


def _fake_align(x, rois, size, samples=0):
    return result(x, (rois.shape[0], x.shape[1], *size))


def _fake_grad(grad_y, *rest):
    return result(grad_y, next(r for r in rest if not torch.is_tensor(r)))


def _fake_pool(x, rois, size):
    y = _fake_align(x, rois, size)
    return y, result(x, y.shape, torch.int32)


def _regions(rois, like):
    """The regions as the kernels of the CPU read them."""
    return rois.to(like.dtype).contiguous()


@operator(
    "roi_align_forward(Tensor x, Tensor rois, int[] size, int samples) -> Tensor", _fake_align
)
def _align(x, rois, size, samples):
    x, rois, y = x.contiguous(), _regions(rois, x), _fake_align(x, rois, size)
    shape = (*x.shape, len(rois), *size, samples)
    places = x.data_ptr(), rois.data_ptr(), y.data_ptr()
    library().roi_align_forward(shape, x.element_size(), *places, threads())
    return y


@operator(
    "roi_align_backward(Tensor grad_y, Tensor rois, SymInt[] shape, int samples) -> Tensor",
    _fake_grad,
)
def _align_backward(grad_y, rois, shape, samples):
    grad_y, rois = grad_y.contiguous(), _regions(rois, grad_y)
    grad_x = grad_y.new_empty(shape)
    sizes = (*shape, len(rois), *grad_y.shape[2:], samples)
    places = grad_y.data_ptr(), rois.data_ptr(), grad_x.data_ptr()
    library().roi_align_backward(sizes, grad_y.element_size(), *places, threads())
    return grad_x


@operator("roi_pool_forward(Tensor x, Tensor rois, int[] size) -> (Tensor, Tensor)", _fake_pool)
def _pool(x, rois, size):
    """y, and of each value its place h * width + w in the plane of x, or -1."""
    x, rois = x.contiguous(), _regions(rois, x)
    y, at = _fake_pool(x, rois, size)
    shape = (*x.shape, len(rois), *size, 0)
    places = x.data_ptr(), rois.data_ptr(), y.data_ptr(), at.data_ptr()
    library().roi_pool_forward(shape, x.element_size(), *places, threads())
    return y, at


@operator(
    "roi_pool_backward(Tensor grad_y, Tensor rois, Tensor at, SymInt[] shape) -> Tensor",
    _fake_grad,
)
def _pool_backward(grad_y, rois, at, shape):
    grad_y, rois = grad_y.contiguous(), _regions(rois, grad_y)
    grad_x = grad_y.new_empty(shape)
    sizes = (*shape, len(rois), *grad_y.shape[2:], 0)
    places = grad_y.data_ptr(), rois.data_ptr(), at.data_ptr(), grad_x.data_ptr()
    library().roi_pool_backward(sizes, grad_y.element_size(), *places, threads())
    return grad_x

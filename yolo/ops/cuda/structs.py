"""The structs of csrc/cuda/cuda_api.h, field by field; a test compares their sizes with C's."""

import functools
from ctypes import Structure, c_double, c_float, c_int, c_int64, c_void_p

import torch

from ..formulas import FORMULAS

TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
FORWARD, GRAD_X, GRAD_WEIGHT = 0, 1, 2
# The functions of one value come first in FORMULAS; the rest needs a whole pixel.
ACTIVATION_NUMBERS = {
    name: number
    for number, name in enumerate(n for n in FORMULAS if not n.startswith("normalize_"))
}


def _fields(*groups):
    """_fields((c_int, "n c"), (c_void_p, "x")) -> [("n", c_int), ("c", c_int), ("x", c_void_p)]"""
    return [(name, kind) for kind, names in groups for name in names.split()]


class ConvShape(Structure):
    _fields_ = _fields(
        (c_int, "n c h w k r s p q stride_y stride_x pad_y pad_x dilation_y dilation_x groups")
    )


class Strides(Structure):
    _fields_ = _fields((c_int64, "n c h w"))


class Rows(Structure):
    _fields_ = _fields((c_void_p, "data"), (c_int64, "pitch"))


class Conv(Structure):
    _fields_ = _fields(
        (ConvShape, "shape"),
        (c_int, "type"),
        (c_void_p, "x"),
        (Strides, "x_strides"),
        (c_void_p, "weight bias y"),
        (Strides, "y_strides"),
        (c_void_p, "workspace"),
        (c_int64, "workspace_bytes"),
        (c_void_p, "scale residual"),
        (c_int64, "residual_pitch"),
        (c_int, "activation splits"),
        (c_void_p, "tiles normed"),
        (c_int64, "normed_pitch"),
        (c_void_p, "mean rstd"),
    )


class Norm(Structure):
    _fields_ = _fields(
        (c_int64, "rows"),
        (c_int, "channels type training activation"),
        (Rows, "x y residual grad_y grad_x"),
        (c_void_p, "scale bias mean rstd rolling_mean rolling_var grad_scale grad_bias workspace"),
        (c_double, "momentum eps"),
        (c_void_p, "tiles"),
        (c_int64, "tile_count"),
    )


class Pool(Structure):
    _fields_ = _fields(
        (c_int, "n c h w p q size_y size_x stride_y stride_x offset_y offset_x type"),
        (Rows, "x y"),
        (c_void_p, "index"),
    )


class Upsample(Structure):
    _fields_ = _fields(
        (c_int, "n c h w stride type"),
        (c_double, "scale"),
        (Rows, "x y"),
    )


class Reorg(Structure):
    _fields_ = _fields((c_int, "n depth h w stride reverse type"), (c_void_p, "x y"))


class Parameter(Structure):
    _fields_ = _fields(
        (c_void_p, "weight grad update half"),
        (c_int64, "count"),
        (c_float, "decay rate limit clip"),
        (c_int64, "half_type"),
    )


class Step(Structure):
    _fields_ = _fields((c_int, "function pass_"), (c_void_p, "call"))


GRIDS, ANCHORS, MOST = 8, 8, 4096  # what one call of detect() takes


class Grid(Structure):
    _fields_ = _fields(
        (Rows, "x"),
        (c_int, "h w anchors activated"),
        (c_float, "scale_x_y"),
        (c_float * ANCHORS, "widths heights"),
    )


class Detect(Structure):
    _fields_ = _fields(
        (c_int, "images classes capacity grid_count type"),
        (c_float, "beta"),
        (c_void_p, "settings counts cells boxes probs kept"),
        (Grid * GRIDS, "grids"),
    )


class Roi(Structure):
    _fields_ = _fields(
        (c_int, "n c h w rois p q samples type"),
        (Rows, "x y"),
        (c_void_p, "regions index"),
    )


SPP_LEVELS, SPP_LARGEST = 4, 15  # pools and window of one call


class Spp(Structure):
    _fields_ = _fields(
        (c_int, "n c h w levels"),
        (c_int * SPP_LEVELS, "size"),
        (c_int, "type"),
        (Rows, "x other"),
        (Rows * SPP_LEVELS, "y"),
        (c_void_p, "codes"),
    )


class Prelu(Structure):
    _fields_ = _fields(
        (c_int64, "rows"),
        (c_int, "channels type"),
        (Rows, "x grad_y y"),
        (c_void_p, "slope grad_slope workspace"),
    )


STRUCTS = (Conv, Norm, Pool, Upsample, Reorg, Parameter, Step, Grid, Detect, Roi, Spp, Prelu)
# in the order of YoloFunction
FUNCTIONS = tuple(
    f"yolo_cuda_{name}"
    for name in (
        *("conv_im2col", "conv_implicit", "conv_stem", "depthwise", "norm_forward"),
        *("maxpool", "avgpool", "upsample", "reorg", "spp", "prelu"),
    )
)


@functools.lru_cache(4096)
def conv_struct(a):
    """ConvShape of C from the ConvShape of yolo.ops.shapes."""
    sizes = (a.n, a.c, a.h, a.w, a.k, a.r, a.s, a.p, a.q)
    return ConvShape(*sizes, *a.stride, *a.padding, *a.dilation, a.groups)

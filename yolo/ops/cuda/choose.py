"""Which kernel computes a convolution on CUDA: plain functions.

    float64           stored columns
    float32           stored columns; tensor cores only where the precision is tf32
    bfloat16, float16 tensor cores; a kernel of their own where a sum has at most 32 products
    depthwise shapes  a kernel of their own, any type

YOLO_CONV=im2col|implicit|stem|depthwise forces one kernel, for tests and comparisons.
"""

import os

import torch

from ..precision import HALVES

ALGORITHMS = ("im2col", "implicit", "stem", "depthwise")


def fits_stem(shape):
    """The sum of one output is short, as in the first layer of a network, and pixels are not of
    whole chunks of 16 bytes, which the implicit kernel reads at once."""
    return shape.groups == 1 and shape.r * shape.s * shape.c <= 32 and shape.c % 8 != 0


def choose(shape, dtype, precision, name="forward", forced=None):
    """The algorithm for a ConvShape and an x of type `dtype` in the pass `name`."""
    forced = forced or os.environ.get("YOLO_CONV", "")
    if forced:
        return _forced(forced, shape, dtype, name)
    if shape.groups > 1 and shape.groups == shape.c == shape.k:
        return "depthwise"
    if dtype == torch.float64 or (dtype == torch.float32 and precision != "tf32"):
        return "im2col"
    stem = fits_stem(shape) and dtype in HALVES.values() and name != "grad_x"
    return "stem" if stem else "implicit"


def _forced(name, shape, dtype, pass_):
    if name not in ALGORITHMS:
        raise ValueError(f"YOLO_CONV={name}: choose from {', '.join(ALGORITHMS)}")
    if name == "im2col" and dtype not in (torch.float32, torch.float64):
        raise ValueError(f"YOLO_CONV=im2col computes float32 and float64, not {dtype}")
    if name == "implicit" and dtype == torch.float64:
        raise ValueError("YOLO_CONV=implicit has no float64; tensor cores multiply shorter types")
    if name == "stem" and not (fits_stem(shape) and dtype in HALVES.values()):
        raise ValueError(
            f"YOLO_CONV=stem needs one group, r * s * c <= 32, odd channels and 16 bits; {dtype}, "
            f"{shape}"
        )
    if name == "stem" and pass_ == "grad_x":
        return "implicit"
    if name == "depthwise" and not shape.groups == shape.c == shape.k:
        raise ValueError(f"YOLO_CONV=depthwise needs groups = c = k, the shape is {shape}")
    return name

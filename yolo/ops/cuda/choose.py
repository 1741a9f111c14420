"""Which kernel computes a convolution on CUDA, and in which precision: plain functions.

    fp32   float products and sums: stored columns; never TF32 unless asked for
    tf32   tensor cores on float tensors, 10 bits of mantissa in products, float sums
    bf16, fp16   tensor cores on values rounded to 16 bits, float sums

YOLO_CONV=im2col|implicit|depthwise forces one kernel, for tests and comparisons.
"""

import os

import torch

from ..switch import Switch

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
ALGORITHMS = ("im2col", "implicit", "depthwise")
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
precision = Switch("precision", PRECISIONS)


def current_precision():
    """The precision set above; autocast on CUDA chooses its own type."""
    if torch.is_autocast_enabled("cuda"):
        halves = {dtype: name for name, dtype in HALVES.items()}
        return halves.get(torch.get_autocast_dtype("cuda"), precision.current)
    return precision.current


def compute_type(dtype, precision):
    """The type that x and weight of `dtype` are multiplied in."""
    return HALVES.get(precision, dtype) if dtype == torch.float32 else dtype


def choose(shape, dtype, precision, forced=None):
    """Name of the algorithm for a ConvShape whose tensors are multiplied as `dtype`."""
    forced = forced or os.environ.get("YOLO_CONV", "")
    if forced:
        return _forced(forced, shape, dtype)
    if shape.groups > 1 and shape.groups == shape.c == shape.k:
        return "depthwise"
    if dtype == torch.float64 or (dtype == torch.float32 and precision != "tf32"):
        return "im2col"
    return "implicit"


def _forced(name, shape, dtype):
    if name not in ALGORITHMS:
        raise ValueError(f"YOLO_CONV={name}: choose from {', '.join(ALGORITHMS)}")
    if name == "im2col" and dtype not in (torch.float32, torch.float64):
        raise ValueError(f"YOLO_CONV=im2col computes float32 and float64, not {dtype}")
    if name == "implicit" and dtype == torch.float64:
        raise ValueError("YOLO_CONV=implicit has no float64; tensor cores multiply shorter types")
    if name == "depthwise" and not shape.groups == shape.c == shape.k:
        raise ValueError(f"YOLO_CONV=depthwise needs groups = c = k, the shape is {shape}")
    return name

"""Which kernel computes a convolution on CUDA: plain functions.

    float64           stored columns
    float32           stored columns; tensor cores only where the precision is tf32
    bfloat16, float16 tensor cores
    depthwise shapes  a kernel of their own, any type

YOLO_CONV=im2col|implicit|depthwise forces one kernel, for tests and comparisons.
"""

import os

import torch

ALGORITHMS = ("im2col", "implicit", "depthwise")


def choose(shape, dtype, precision, forced=None):
    """Name of the algorithm for a ConvShape and an x of type `dtype`."""
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

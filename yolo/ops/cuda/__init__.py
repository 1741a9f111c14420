"""The CUDA kernels as Python calls: tensors in, pointers out.

The functions of csrc/cuda/cuda_api.h are plain C; `Kernels(path)` opens a library that has them:
yolo/_cuda.so for CUDA tensors, or an emulator build for tensors in ordinary memory.  Results live
in memory of PyTorch's allocator, work goes to PyTorch's current stream, and nothing waits.  A
tensor is taken as it lies where the kernel can, else copied once.
"""

from .choose import choose
from .kernels import Kernels
from .library import CudaError
from .operators import register
from .structs import ACTIVATION_NUMBERS, TYPES

__all__ = [
    "ACTIVATION_NUMBERS",
    "TYPES",
    "CudaError",
    "Kernels",
    "choose",
]

register()

"""The public operations, and the choice between our kernels and PyTorch's operators."""

from .activation import ACTIVATIONS, activate, bias_act
from .backend import BACKENDS, backend, current_backend
from .conv import conv2d, conv2d_act
from .conv1d import conv1d
from .cuda import CudaError
from .linear import linear
from .norm import batch_norm_act, conv_batch_norm_act
from .pool import avgpool, maxpool2d
from .precision import PrecisionError, precision, precision_for
from .reorg import reorg, reorg3d
from .shapes import ShapeError
from .upsample import upsample

__all__ = [
    "ACTIVATIONS",
    "BACKENDS",
    "CudaError",
    "PrecisionError",
    "ShapeError",
    "activate",
    "avgpool",
    "backend",
    "batch_norm_act",
    "bias_act",
    "conv1d",
    "conv2d",
    "conv2d_act",
    "conv_batch_norm_act",
    "current_backend",
    "linear",
    "maxpool2d",
    "precision",
    "precision_for",
    "reorg",
    "reorg3d",
    "upsample",
]

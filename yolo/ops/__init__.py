"""The public operations, and the choice between our kernels and PyTorch's operators."""

from .activation import ACTIVATIONS, activate, bias_act
from .backend import BACKENDS, backend, current_backend
from .concat import concatenate, enlarge
from .conv import conv2d, conv2d_act
from .conv1d import conv1d
from .conv_norm import conv_batch_norm_act, convolved
from .cross_norm import cross_batch_norm_act
from .cuda import CudaError
from .linear import linear
from .norm import batch_norm_act
from .packed import Packed, layout, unpack
from .packed import begins as begins_packed
from .packed_conv import conv_bias_act, conv_norm_act
from .packed_conv import fits as fits_packed
from .packed_pointwise import multiply
from .pending import Pending
from .pool import avgpool, maxpool2d
from .precision import PrecisionError, precision, precision_for
from .predicted import best_overlap, highest, no_deltas
from .prelu import prelu
from .reorg import reorg, reorg3d
from .roi import roi_align, roi_pool
from .shapes import ShapeError
from .shared_norm import rolling_pair, statistics
from .spp import spp_pool
from .stretch import stretch
from .unwritten import Unwritten
from .upsample import upsample

__all__ = [
    "ACTIVATIONS",
    "BACKENDS",
    "CudaError",
    "Packed",
    "Pending",
    "PrecisionError",
    "ShapeError",
    "Unwritten",
    "activate",
    "avgpool",
    "backend",
    "batch_norm_act",
    "begins_packed",
    "best_overlap",
    "bias_act",
    "concatenate",
    "conv1d",
    "conv2d",
    "conv2d_act",
    "conv_batch_norm_act",
    "conv_bias_act",
    "conv_norm_act",
    "convolved",
    "cross_batch_norm_act",
    "current_backend",
    "enlarge",
    "fits_packed",
    "highest",
    "layout",
    "linear",
    "maxpool2d",
    "multiply",
    "no_deltas",
    "precision",
    "precision_for",
    "prelu",
    "reorg",
    "reorg3d",
    "roi_align",
    "roi_pool",
    "rolling_pair",
    "spp_pool",
    "statistics",
    "stretch",
    "unpack",
    "upsample",
]

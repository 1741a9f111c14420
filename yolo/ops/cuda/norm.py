"""Normalisation, activation and sums of channels: one method a kernel and pass."""

import ctypes
from ctypes import c_int64

import torch

from .layout import empty_nhwc, pixels_last, pointer, rows
from .library import Library
from .structs import ACTIVATION_NUMBERS, FORWARD, GRAD_X, TYPES, Norm, Prelu


class NormKernels(Library):
    """Tensors (n, c, h, w); values of channels are float32, or double beside double."""

    def norm_act_forward(
        self, x, scale=None, bias=None, rolling=None, training=False, activation="linear",
        residual=None, momentum=0.01, eps=1e-5, mean=None, rstd=None, out=None,
    ):  # fmt: skip
        """y, mean, rstd; rolling: (mean, var), changed in place when training; out: as of
        implicit_forward, x itself too."""
        x = pixels_last(x)
        y = empty_nhwc(x, x.shape) if out is None else out
        if training:
            number = torch.float64 if x.dtype == torch.float64 else torch.float32
            mean, rstd = (x.new_empty(x.shape[1], dtype=number) for _ in range(2))
        residual = None if residual is None else pixels_last(residual)
        call = self._norm(x, scale, bias, mean, rstd, training, activation)
        call.y, call.residual = rows(y), rows(residual)
        call.momentum, call.eps = momentum, eps
        if training and rolling is not None:
            call.rolling_mean, call.rolling_var = map(pointer, rolling)
        self._run_norm("yolo_cuda_norm_forward", call, x)
        return y, mean, rstd

    def statistics(self, x, rolling, momentum, eps, tiles=None):
        """mean and 1 / sqrt(var + eps) of each channel; moves rolling (mean, var) in place. tiles:
        what the convolution that made x has left of it; x is then not read."""
        x = pixels_last(x)
        number = torch.float64 if x.dtype == torch.float64 else torch.float32
        mean, rstd = (x.new_empty(x.shape[1], dtype=number) for _ in range(2))
        call = self._norm(x, None, None, mean, rstd, True, "linear")
        call.momentum, call.eps = momentum, eps
        call.rolling_mean, call.rolling_var = map(pointer, rolling)
        if tiles is not None:
            call.tiles, call.tile_count = pointer(tiles), len(tiles)
        self._run_norm("yolo_cuda_norm_forward", call, x)
        return mean, rstd

    def norm_act_backward(
        self, grad_y, x, scale, bias, mean, rstd, training=True, activation="linear", sums=True,
        tiles=None,
    ):  # fmt: skip
        """grad_x, grad_scale, grad_bias (None without sums) of norm_act_forward. tiles: what
        implicit_grad_x, which has made grad_y, has left of the sums; no pass is made for them."""
        x, grad_y = pixels_last(x), pixels_last(grad_y)
        grad_x = empty_nhwc(x, x.shape)
        number = torch.float64 if x.dtype == torch.float64 else torch.float32
        grads = [x.new_zeros(x.shape[1], dtype=number) if sums else None for _ in range(2)]
        call = self._norm(x, scale, bias, mean, rstd, training, activation)
        call.grad_y, call.grad_x = rows(grad_y), rows(grad_x)
        call.grad_scale, call.grad_bias = map(pointer, grads)
        if tiles is not None:
            call.tiles, call.tile_count = pointer(tiles), len(tiles)
        self._run_norm("yolo_cuda_norm_backward", call, x)
        return grad_x, *grads

    def _norm(self, x, scale, bias, mean, rstd, training, activation):
        pixels = x.shape[0] * x.shape[2] * x.shape[3]
        call = Norm(rows=pixels, channels=x.shape[1], type=TYPES[x.dtype], training=int(training))
        call.activation, call.x = ACTIVATION_NUMBERS[activation], rows(x)
        call.scale, call.bias, call.mean, call.rstd = map(pointer, (scale, bias, mean, rstd))
        return call

    def _run_norm(self, name, call, x):
        size = self.library.yolo_cuda_norm_workspace(c_int64(call.rows), call.channels)
        workspace = self.room(size, x.device)
        call.workspace = pointer(workspace)
        self.call(name, x.device, ctypes.byref(call))

    def prelu_forward(self, x, slope, out=None):
        """slope (c): of sum_type(x)."""
        x = pixels_last(x)
        y = empty_nhwc(x, x.shape) if out is None else out
        self._prelu(FORWARD, x, y, slope)
        return y

    def prelu_backward(self, grad_y, x, slope):
        """grad_x, grad_slope."""
        grad_y, x = pixels_last(grad_y), pixels_last(x)
        grad_x, grad_slope = empty_nhwc(x, x.shape), torch.zeros_like(slope)
        self._prelu(GRAD_X, x, grad_x, slope, grad_y, grad_slope)
        return grad_x, grad_slope

    def _prelu(self, pass_, x, y, slope, grad_y=None, grad_slope=None):
        pixels = x.shape[0] * x.shape[2] * x.shape[3]
        call = Prelu(pixels, x.shape[1], TYPES[x.dtype], rows(x), rows(grad_y), rows(y))
        call.slope, call.grad_slope = pointer(slope), pointer(grad_slope)
        size = self.library.yolo_cuda_prelu_workspace(c_int64(call.rows), call.channels)
        workspace = self.room(size if pass_ == GRAD_X else 0, x.device)
        call.workspace = pointer(workspace)
        self.call("yolo_cuda_prelu", x.device, ctypes.byref(call), pass_)

    def channel_sums(self, x):
        """x (n, c, h, w) -> (c): the sum over everything but the channels."""
        x = pixels_last(x)
        number = torch.float64 if x.dtype == torch.float64 else torch.float32
        sums, unused = (x.new_zeros(x.shape[1], dtype=number) for _ in range(2))
        call = self._norm(x, None, None, None, None, False, "linear")
        call.grad_y, call.grad_bias, call.grad_scale = rows(x), pointer(sums), pointer(unused)
        self._run_norm("yolo_cuda_norm_backward", call, x)
        return sums

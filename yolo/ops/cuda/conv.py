"""Convolutions as kernels compute them: one method a kernel and pass."""

import ctypes

import torch

from .layout import (
    as_float,
    empty_like,
    empty_nhwc,
    flat,
    nhwc,
    pitch_of,
    pixels_last,
    pointer,
)
from .library import Library
from .structs import (
    ACTIVATION_NUMBERS,
    FORWARD,
    GRAD_WEIGHT,
    GRAD_X,
    TYPES,
    Conv,
    Strides,
    conv_struct,
)


class ConvKernels(Library):
    """a: a ConvShape."""

    def _im2col(self, a, pass_, x, weight, bias, y):
        """x and y of any strides as long as rows follow each other; weight (k, c, r, s)."""
        call = Conv(shape=conv_struct(a), type=TYPES[x.dtype])
        call.x, call.x_strides = pointer(x), Strides(*x.stride())
        call.y, call.y_strides = pointer(y), Strides(*y.stride())
        call.weight, call.bias = pointer(weight), pointer(bias)
        size = self.library.yolo_cuda_conv_im2col_workspace(ctypes.byref(call.shape), call.type)
        return self._run("yolo_cuda_conv_im2col", call, pass_, size, x.device)

    def _implicit(self, a, pass_, x, weight, y, kernel="conv_implicit", **epilogue):
        """x and y NHWC (the stem takes any x), weight (k, r, s, c) in memory."""
        call = Conv(shape=conv_struct(a), type=TYPES[x.dtype], activation=epilogue["activation"])
        steps = x.stride() if kernel == "conv_stem" else nhwc(x.shape, pitch_of(x))
        call.x, call.x_strides = pointer(x), Strides(*steps)
        call.y, call.y_strides = pointer(y), Strides(*nhwc(y.shape, pitch_of(y)))
        call.weight, call.splits = pointer(weight), epilogue.get("splits", 0)
        residual = epilogue.get("residual")
        call.scale, call.bias = pointer(epilogue.get("scale")), pointer(epilogue.get("bias"))
        if residual is not None:
            call.residual, call.residual_pitch = pointer(residual), pitch_of(residual)
        call.tiles = pointer(epilogue.get("tiles"))
        normed = epilogue.get("normed")
        if normed is not None:
            call.normed, call.normed_pitch = pointer(normed), pitch_of(normed)
            call.mean, call.rstd = pointer(epilogue["mean"]), pointer(epilogue["rstd"])
        name = f"yolo_cuda_{kernel}"
        size = getattr(self.library, f"{name}_workspace")(ctypes.byref(call), pass_)
        return self._run(name, call, pass_, size, x.device)

    def _run(self, name, call, pass_, size, device):
        workspace = self.room(size, device)
        call.workspace, call.workspace_bytes = pointer(workspace), size
        self.call(name, device, ctypes.byref(call), pass_)

    def im2col_forward(self, a, x, weight, bias=None, out=None):
        x, y = flat(x), empty_like(x, (a.n, a.k, a.p, a.q)) if out is None else out
        bias = None if bias is None else bias.contiguous()
        self._im2col(a, FORWARD, x, weight.contiguous(), bias, y)
        return y

    def im2col_grad_x(self, a, grad_y, weight, out=None):
        grad_y = flat(grad_y)
        grad_x = empty_like(grad_y, (a.n, a.c, a.h, a.w)) if out is None else out
        self._im2col(a, GRAD_X, grad_x, weight.contiguous(), None, grad_y)
        return grad_x

    def im2col_grad_weight(self, a, x, grad_y):
        shape = (a.k, a.c // a.groups, a.r, a.s)
        if a.n == 0:
            return x.new_zeros(shape)
        grad_weight = x.new_empty(shape)
        self._im2col(a, GRAD_WEIGHT, flat(x), grad_weight, None, flat(grad_y))
        return grad_weight

    def implicit_forward(
        self, a, x, weight, bias=None, scale=None, residual=None, activation="linear", out=None,
        tiles=None, splits=1, kernel="conv_implicit",
    ):  # fmt: skip
        """out: NHWC tensor, or slice of one along the channels, that receives the result; tiles:
        of implicit_tiles(), receives the statistics of the sums before scale and bias."""
        y = empty_nhwc(x, (a.n, a.k, a.p, a.q)) if out is None else out
        weight = weight.permute(0, 2, 3, 1).contiguous()
        self._implicit(
            a,
            FORWARD,
            x if kernel == "conv_stem" else pixels_last(x),
            weight,
            y,
            kernel,
            bias=as_float(bias),
            scale=as_float(scale),
            residual=None if residual is None else pixels_last(residual),
            activation=ACTIVATION_NUMBERS[activation],
            tiles=tiles,
            splits=splits,
        )
        return y

    def implicit_splits(self, a, dtype):
        """How many splits of the forward sum a small problem is worth."""
        return self.library.yolo_cuda_conv_implicit_splits(
            ctypes.byref(conv_struct(a)), TYPES[dtype]
        )

    def implicit_tiles(self, a, device, pass_=FORWARD):
        """Memory for what a pass leaves of each tile of pixels: count, mean and spread of each
        filter, or in GRAD_X two sums of each channel."""
        count = self.library.yolo_cuda_conv_implicit_tiles(ctypes.byref(conv_struct(a)), pass_)
        size = (a.k, 3) if pass_ == FORWARD else (a.c, 2)
        return torch.empty((count, *size), device=device)

    def implicit_grad_x(self, a, grad_y, weight, residual=None, normed=None, tiles=None):
        """residual: added to the result. normed: (x, scale, bias, mean, rstd, activation) of the
        norm_act_forward that has made the convolution's input; tiles, of implicit_tiles(),
        receives the sums of its backward pass."""
        grad_x = empty_nhwc(grad_y, (a.n, a.c, a.h, a.w))
        weight = weight.permute(0, 2, 3, 1).contiguous()
        more = {"activation": ACTIVATION_NUMBERS["linear"]}
        if residual is not None:
            more["residual"] = pixels_last(residual)
        if normed is not None:
            x, *channels, activation = normed
            more |= zip(("scale", "bias", "mean", "rstd"), channels, strict=True)
            more |= {"normed": pixels_last(x), "activation": ACTIVATION_NUMBERS[activation]}
        self._implicit(a, GRAD_X, grad_x, weight, pixels_last(grad_y), **more, tiles=tiles)
        return grad_x

    def implicit_sums(self, a, grad_y, weight, x):
        """(c, 2): over all pixels the sum of grad_x, and that of grad_x * x."""
        zeros = torch.zeros(a.c, device=x.device)
        normed = x, zeros + 1, zeros, zeros, zeros + 1, "linear"
        tiles = self.implicit_tiles(a, x.device, GRAD_X)
        self.implicit_grad_x(a, grad_y, weight, None, normed, tiles)
        return tiles.sum(0)

    def implicit_grad_weight(self, a, x, grad_y, splits=0, kernel="conv_implicit"):
        """Float, whatever the type of x and grad_y."""
        shape = (a.k, a.r, a.s, a.c // a.groups)
        if a.n == 0:
            return x.new_zeros(shape, dtype=torch.float32).permute(0, 3, 1, 2)
        out = x.new_empty(shape, dtype=torch.float32)
        linear = ACTIVATION_NUMBERS["linear"]
        x, grad_y = x if kernel == "conv_stem" else pixels_last(x), pixels_last(grad_y)
        self._implicit(a, GRAD_WEIGHT, x, out, grad_y, kernel, activation=linear, splits=splits)
        return out.permute(0, 3, 1, 2)

    def stem_forward(self, a, x, weight, *epilogue, **named):
        """As implicit_forward, for r * s * c <= 32 and 16-bit types; x may lie in any way."""
        return self.implicit_forward(a, x, weight, *epilogue, **named, kernel="conv_stem")

    def stem_grad_weight(self, a, x, grad_y):
        return self.implicit_grad_weight(a, x, grad_y, kernel="conv_stem")

    # -- depthwise --------------------------------------------------------------------------

    def _depthwise(self, a, pass_, x, weight, y, **epilogue):
        """x and y NHWC, weight (r, s, c) in memory."""
        call = Conv(shape=conv_struct(a), type=TYPES[x.dtype])
        call.x, call.x_strides = pointer(x), Strides(*nhwc(x.shape, pitch_of(x)))
        call.y, call.y_strides = pointer(y), Strides(*nhwc(y.shape, pitch_of(y)))
        call.weight, call.bias = pointer(weight), pointer(epilogue.get("bias"))
        call.scale = pointer(epilogue.get("scale"))
        call.activation = ACTIVATION_NUMBERS[epilogue.get("activation", "linear")]
        size = self.library.yolo_cuda_depthwise_workspace(ctypes.byref(call), pass_)
        self._run("yolo_cuda_depthwise", call, pass_, size, x.device)

    def depthwise_forward(self, a, x, weight, bias=None, scale=None, activation="linear", out=None):
        x, y = pixels_last(x), empty_nhwc(x, (a.n, a.k, a.p, a.q)) if out is None else out
        weight, epilogue = _taps_first(weight), {"bias": as_float(bias), "scale": as_float(scale)}
        self._depthwise(a, FORWARD, x, weight, y, activation=activation, **epilogue)
        return y

    def depthwise_grad_x(self, a, grad_y, weight):
        grad_x = empty_nhwc(grad_y, (a.n, a.c, a.h, a.w))
        self._depthwise(a, GRAD_X, grad_x, _taps_first(weight), pixels_last(grad_y))
        return grad_x

    def depthwise_grad_weight(self, a, x, grad_y):
        """Float, or double for double."""
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        out = x.new_empty((a.r, a.s, a.c), dtype=dtype)
        self._depthwise(a, GRAD_WEIGHT, pixels_last(x), out, pixels_last(grad_y))
        return out.permute(2, 0, 1).unsqueeze(1)


def _taps_first(weight):
    """(c, 1, r, s) -> (r, s, c) in memory."""
    return weight[:, 0].permute(1, 2, 0).contiguous()

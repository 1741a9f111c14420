"""One method a kernel and pass: checks of layout, memory for the result, the call."""

import ctypes
from ctypes import c_char_p, c_float, c_int64, c_void_p

import torch

from ...errors import YoloError
from .layout import (
    as_float,
    empty_like,
    empty_nhwc,
    flat,
    nhwc,
    pitch_of,
    pixels_last,
    pointer,
    rows,
)
from .structs import (
    ACTIVATION_NUMBERS,
    FORWARD,
    GRAD_WEIGHT,
    GRAD_X,
    TYPES,
    Conv,
    Detect,
    Norm,
    Parameter,
    Pool,
    Prelu,
    Reorg,
    Roi,
    Spp,
    Strides,
    Upsample,
    conv_struct,
)


class CudaError(YoloError, RuntimeError):
    """A kernel refused its arguments, or a launch failed."""


class Kernels:
    """The C functions of one library."""

    def __init__(self, path, on_cuda=True):
        self.path, self.library = path, ctypes.CDLL(str(path))
        self.on_cuda = on_cuda
        if not hasattr(self.library, "yolo_cuda_message"):
            raise CudaError(f"{path} holds no CUDA kernels")
        try:
            self._state_results()
        except AttributeError as error:
            raise CudaError(f"{path} is of other sources; build it again ({error})") from None

    def _state_results(self):
        """What the functions return that give no int."""
        self.library.yolo_cuda_message.restype = c_char_p
        for kernel in ("conv_im2col", "conv_implicit", "conv_stem", "depthwise", "norm", "prelu"):
            getattr(self.library, f"yolo_cuda_{kernel}_workspace").restype = c_int64
        self.library.yolo_cuda_conv_implicit_tiles.restype = c_int64

    def call(self, name, device, *arguments):
        """Runs a C function on the current stream of `device`; raises what it reports."""
        if self.on_cuda:
            stream = c_void_p(torch.cuda.current_stream(device).cuda_stream)
            if device.index in (None, torch.cuda.current_device()):
                status = getattr(self.library, name)(*arguments, stream)
            else:
                with torch.cuda.device(device):
                    status = getattr(self.library, name)(*arguments, stream)
        else:
            status = getattr(self.library, name)(*arguments, None)
        if status != 0:
            message = self.library.yolo_cuda_message(status).decode()
            raise CudaError(f"{name}: {message} (status {status})")

    def room(self, size, device):
        """Memory for one call's scratch values."""
        return torch.empty(max(size, 16), dtype=torch.uint8, device=device)

    # -- convolution ------------------------------------------------------------------------

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

    # -- normalisation and activation -------------------------------------------------------

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

    # -- pools and enlargement --------------------------------------------------------------

    def maxpool_forward(self, a, x, out=None, with_index=True):
        """y, index or None; out: NHWC tensor, or slice of one along the channels, that receives
        y."""
        x, y = pixels_last(x), empty_nhwc(x, (a.n, a.c, a.p, a.q)) if out is None else out
        index = empty_nhwc(x, (a.n, a.c, a.p, a.q), dtype=torch.int32) if with_index else None
        self._pool(a, FORWARD, x, y, index)
        return y, index

    def maxpool_grad_x(self, a, grad_y, index):
        """index: as maxpool_forward gave it."""
        grad_x = empty_nhwc(grad_y, (a.n, a.c, a.h, a.w))
        self._pool(a, GRAD_X, grad_x, pixels_last(grad_y), index)
        return grad_x

    def _pool(self, a, pass_, x, y, index):
        call = Pool(a.n, a.c, a.h, a.w, a.p, a.q, *a.size, *a.stride, *a.offset, TYPES[x.dtype])
        call.x, call.y, call.index = rows(x), rows(y), pointer(index)
        self.call("yolo_cuda_maxpool", x.device, ctypes.byref(call), pass_)

    def spp_forward(self, x, sizes, ys=None, with_codes=True):
        """[y of each pool], codes or None. sizes: odd, growing, see csrc/cuda/spp.cu; ys: as `out`
        of maxpool_forward."""
        x = pixels_last(x)
        n, c, h, w = x.shape
        ys = [empty_nhwc(x, x.shape) for _ in sizes] if ys is None else ys
        codes = None
        if with_codes:
            codes = empty_nhwc(x, (len(sizes) * n, c, h, w), dtype=torch.uint8)
            codes = codes.permute(0, 2, 3, 1).view(len(sizes), n, h, w, c)
        self._spp(FORWARD, x, sizes, ys, codes)
        return ys, codes

    def spp_grad_x(self, grads, codes, sizes, other=None):
        """codes: as spp_forward gave them; other: of x, added to the result."""
        grads, grad_x = list(map(pixels_last, grads)), empty_nhwc(grads[0], grads[0].shape)
        other = None if other is None else pixels_last(other)
        self._spp(GRAD_X, grad_x, sizes, grads, codes, other)
        return grad_x

    def _spp(self, pass_, x, sizes, ys, codes, other=None):
        call = Spp(*x.shape, len(sizes), type=TYPES[x.dtype], x=rows(x), other=rows(other))
        for level, (size, y) in enumerate(zip(sizes, ys, strict=True)):
            call.size[level], call.y[level] = size, rows(y)
        call.codes = pointer(codes)
        self.call("yolo_cuda_spp", x.device, ctypes.byref(call), pass_)

    def avgpool_forward(self, x, out=None):
        n, c, h, w = x.shape
        x, y = pixels_last(x), empty_nhwc(x, (n, c, 1, 1)) if out is None else out
        self._avgpool(FORWARD, x, y, h, w)
        return y

    def avgpool_grad_x(self, grad_y, h, w):
        grad_x = empty_nhwc(grad_y, (*grad_y.shape[:2], h, w))
        self._avgpool(GRAD_X, grad_x, pixels_last(grad_y), h, w)
        return grad_x

    def _avgpool(self, pass_, x, y, h, w):
        call = Pool(n=x.shape[0], c=x.shape[1], h=h, w=w, type=TYPES[x.dtype], x=rows(x), y=rows(y))
        self.call("yolo_cuda_avgpool", x.device, ctypes.byref(call), pass_)

    def reorg(self, x, sizes, reverse):
        """Each image of x as one row; sizes: depth, h, w, stride of the smaller map."""
        depth, h, w, stride = sizes
        x, y = x.contiguous(), x.new_empty((x.shape[0], depth * h * w * stride**2))
        call = Reorg(x.shape[0], depth, h, w, stride, int(reverse), TYPES[x.dtype])
        call.x, call.y = pointer(x), pointer(y)
        self.call("yolo_cuda_reorg", x.device, ctypes.byref(call))
        return y

    def channel_sums(self, x):
        """x (n, c, h, w) -> (c): the sum over everything but the channels."""
        x = pixels_last(x)
        number = torch.float64 if x.dtype == torch.float64 else torch.float32
        sums, unused = (x.new_zeros(x.shape[1], dtype=number) for _ in range(2))
        call = self._norm(x, None, None, None, None, False, "linear")
        call.grad_y, call.grad_bias, call.grad_scale = rows(x), pointer(sums), pointer(unused)
        self._run_norm("yolo_cuda_norm_backward", call, x)
        return sums

    def upsample_forward(self, x, stride, scale=1.0, out=None):
        n, c, h, w = x.shape
        x = pixels_last(x)
        y = empty_nhwc(x, (n, c, h * stride, w * stride)) if out is None else out
        self._upsample(FORWARD, x, y, stride, scale)
        return y

    def upsample_grad_x(self, grad_y, stride, scale=1.0):
        n, c, h, w = grad_y.shape
        grad_x = empty_nhwc(grad_y, (n, c, h // stride, w // stride))
        self._upsample(GRAD_X, grad_x, pixels_last(grad_y), stride, scale)
        return grad_x

    def _upsample(self, pass_, x, y, stride, scale):
        call = Upsample(*x.shape, stride, TYPES[x.dtype], scale, rows(x), rows(y))
        self.call("yolo_cuda_upsample", x.device, ctypes.byref(call), pass_)

    # -- heads ------------------------------------------------------------------------------

    def detect(self, grids, settings, found, beta=-1.0):
        """Boxes of [yolo] heads after suppression, into `found`.

        grids: (raw map (n, anchors * (5 + classes), h, w) in NHWC, [(w, h) of an anchor relative to
        the input], scale_x_y, whether the map is activated). settings: float (2 + 8 n), see
        csrc/cuda/detect.cu. found: Found. beta: the exponent of DIoU, negative for IoU."""
        n, capacity, classes = found.probs.shape
        call = Detect(n, classes, capacity, len(grids), TYPES[grids[0][0].dtype], beta)
        for grid, (x, anchors, scale_x_y, activated) in zip(call.grids, grids, strict=False):
            grid.x, grid.h, grid.w = rows(x), *x.shape[2:]
            grid.anchors, grid.activated, grid.scale_x_y = len(anchors), activated, scale_x_y
            for i, (width, height) in enumerate(anchors):
                grid.widths[i], grid.heights[i] = width, height
        call.settings, call.counts, call.cells = map(pointer, (settings, found.counts, found.cells))
        call.boxes, call.probs, call.kept = map(pointer, (found.boxes, found.probs, found.kept))
        self.call("yolo_cuda_detect", settings.device, ctypes.byref(call))

    # -- regions of interest ----------------------------------------------------------------

    def roi_align_forward(self, x, rois, size, samples):
        """y (r, c, p, q); rois: (r, 5), converted to the type that x is computed in."""
        x, y = pixels_last(x), empty_nhwc(x, (len(rois), x.shape[1], *size))
        self._roi("align", FORWARD, x, y, rois, None, samples)
        return y

    def roi_align_grad_x(self, grad_y, rois, shape, samples):
        grad_x = empty_nhwc(grad_y, shape)
        self._roi("align", GRAD_X, grad_x, pixels_last(grad_y), rois, None, samples)
        return grad_x

    def roi_pool_forward(self, x, rois, size):
        """y, index."""
        x, y = pixels_last(x), empty_nhwc(x, (len(rois), x.shape[1], *size))
        index = empty_nhwc(x, y.shape, dtype=torch.int32)
        self._roi("pool", FORWARD, x, y, rois, index)
        return y, index

    def roi_pool_grad_x(self, grad_y, rois, index, shape):
        """index: as roi_pool_forward gave it."""
        grad_x = empty_nhwc(grad_y, shape)
        self._roi("pool", GRAD_X, grad_x, pixels_last(grad_y), rois, index)
        return grad_x

    def _roi(self, kind, pass_, x, y, rois, index, samples=0):
        number = torch.float64 if x.dtype == torch.float64 else torch.float32
        regions = rois.to(number).contiguous()
        call = Roi(*x.shape, len(regions), *y.shape[2:], samples, TYPES[x.dtype], rows(x), rows(y))
        call.regions, call.index = pointer(regions), pointer(index)
        self.call(f"yolo_cuda_roi_{kind}", x.device, ctypes.byref(call), pass_)

    # -- optimiser --------------------------------------------------------------------------

    def parameter_table(self, entries, device):
        """Table for update() of (weight, grad or None, update, 16-bit copy or None, decay, rate,
        limit, clip)."""
        table = (Parameter * len(entries))()
        for row, (weight, grad, update, half, *numbers) in zip(table, entries, strict=True):
            row.weight, row.grad, row.update, row.half = map(pointer, (weight, grad, update, half))
            row.count = weight.numel()
            row.decay, row.rate, row.limit, row.clip = numbers
            row.half_type = 0 if half is None else TYPES[half.dtype]
        table = torch.frombuffer(table, dtype=torch.uint8)
        # pinned, or the copy would wait for all that runs on the device
        return table.pin_memory().to(device, non_blocking=True) if self.on_cuda else table

    def update(self, table, count, rate, momentum, clear=True):
        """u <- update - grad - decay * w; w <- w + rate * u; update <- momentum * u; grad <- 0."""
        self.call(
            "yolo_cuda_update",
            table.device,
            c_void_p(table.data_ptr()),
            count,
            c_float(rate),
            c_float(momentum),
            int(clear),
        )


def _taps_first(weight):
    """(c, 1, r, s) -> (r, s, c) in memory."""
    return weight[:, 0].permute(1, 2, 0).contiguous()

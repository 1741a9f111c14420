"""The CUDA kernels as Python calls: tensors in, pointers out.

The functions of csrc/cuda/cuda_api.h are plain C; `Kernels(path)` opens a library that has them:
the extension of this package for CUDA tensors, or an emulator build for tensors in ordinary
memory.  Results live in memory of PyTorch's allocator, work goes to PyTorch's current stream,
and nothing waits.  A tensor is taken as it lies where the kernel can, else copied once.
"""

import ctypes
from ctypes import Structure, c_char_p, c_int, c_int64, c_void_p

import torch

from .formulas import FORMULAS

TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
FORWARD, GRAD_X, GRAD_WEIGHT = 0, 1, 2
# The functions of one value come first in FORMULAS; the rest needs a whole pixel.
ACTIVATION_NUMBERS = {
    name: number
    for number, name in enumerate(n for n in FORMULAS if not n.startswith("normalize_"))
}


class CudaError(RuntimeError):
    """A kernel refused its arguments, or a launch failed."""


class _ConvShape(Structure):
    _fields_ = [
        (name, c_int)
        for name in [
            "n",
            "c",
            "h",
            "w",
            "k",
            "r",
            "s",
            "p",
            "q",
            "stride_y",
            "stride_x",
            "pad_y",
            "pad_x",
            "dilation_y",
            "dilation_x",
            "groups",
        ]
    ]


class _Strides(Structure):
    _fields_ = [(name, c_int64) for name in "nchw"]


class _Conv(Structure):
    _fields_ = [
        ("shape", _ConvShape),
        ("type", c_int),
        ("x", c_void_p),
        ("x_strides", _Strides),
        ("weight", c_void_p),
        ("bias", c_void_p),
        ("y", c_void_p),
        ("y_strides", _Strides),
        ("workspace", c_void_p),
        ("workspace_bytes", c_int64),
        ("scale", c_void_p),
        ("residual", c_void_p),
        ("residual_pitch", c_int64),
        ("activation", c_int),
        ("splits", c_int),
    ]


def _c_shape(a):
    sizes = (a.n, a.c, a.h, a.w, a.k, a.r, a.s, a.p, a.q)
    return _ConvShape(*sizes, *a.stride, *a.padding, *a.dilation, a.groups)


def _pointer(tensor):
    return None if tensor is None else tensor.data_ptr()


def pitch_of(x):
    """Elements from pixel to pixel of x (n, c, h, w) if it is NHWC or a slice of it, else None."""
    n, c, h, w = x.shape
    pitch = x.stride(3) if w > 1 else x.stride(2) if h > 1 else x.stride(0) if n > 1 else c
    steps = zip(x.shape, x.stride(), (pitch * h * w, 1, pitch * w, pitch), strict=True)
    lies_so = pitch >= c and all(size == 1 or have == want for size, have, want in steps)
    return pitch if lies_so else None


def pixels_last(x):
    """x (n, c, h, w) as NHWC, copied only if it is not so already."""
    if pitch_of(x) is not None:
        return x
    y = torch.empty_strided(x.shape, _nhwc(x.shape), dtype=x.dtype, device=x.device)
    return y.copy_(x)


def _nhwc(shape, pitch=None):
    _, c, h, w = shape
    pitch = pitch or c
    return (pitch * h * w, 1, pitch * w, pitch)


def _nhwc_like(x, shape, dtype=None):
    return torch.empty_strided(shape, _nhwc(shape), dtype=dtype or x.dtype, device=x.device)


class Kernels:
    """The C functions of one library."""

    def __init__(self, path, on_cuda=True):
        self.library = ctypes.CDLL(str(path))
        self.on_cuda = on_cuda
        if not hasattr(self.library, "yolo_cuda_message"):
            raise CudaError(f"{path} was built without CUDA; see README, section Build")
        self.library.yolo_cuda_message.restype = c_char_p
        self.library.yolo_cuda_conv_im2col_workspace.restype = c_int64
        self.library.yolo_cuda_conv_implicit_workspace.restype = c_int64

    def call(self, name, device, *arguments):
        """Runs a C function on the current stream of `device`; raises what it reports."""
        if self.on_cuda:
            with torch.cuda.device(device):
                stream = c_void_p(torch.cuda.current_stream(device).cuda_stream)
                status = getattr(self.library, name)(*arguments, stream)
        else:
            status = getattr(self.library, name)(*arguments, None)
        if status != 0:
            message = self.library.yolo_cuda_message(status).decode()
            raise CudaError(f"{name}: {message} (status {status})")

    # -- convolution ------------------------------------------------------------------------

    def _im2col(self, a, pass_, x, weight, bias, y):
        """x and y of any strides as long as rows follow each other; weight (k, c, r, s)."""
        call = _Conv(shape=_c_shape(a), type=TYPES[x.dtype])
        call.x, call.x_strides = _pointer(x), _Strides(*x.stride())
        call.y, call.y_strides = _pointer(y), _Strides(*y.stride())
        call.weight, call.bias = _pointer(weight), _pointer(bias)
        size = self.library.yolo_cuda_conv_im2col_workspace(ctypes.byref(call.shape), call.type)
        return self._run("yolo_cuda_conv_im2col", call, pass_, size, x.device)

    def _implicit(self, a, pass_, x, weight, y, **epilogue):
        """x and y NHWC, weight (k, r, s, c) in memory."""
        call = _Conv(shape=_c_shape(a), type=TYPES[x.dtype], activation=epilogue["activation"])
        call.x, call.x_strides = _pointer(x), _Strides(*_nhwc(x.shape, pitch_of(x)))
        call.y, call.y_strides = _pointer(y), _Strides(*_nhwc(y.shape, pitch_of(y)))
        call.weight, call.splits = _pointer(weight), epilogue.get("splits", 0)
        residual = epilogue.get("residual")
        call.scale, call.bias = _pointer(epilogue.get("scale")), _pointer(epilogue.get("bias"))
        if residual is not None:
            call.residual, call.residual_pitch = _pointer(residual), pitch_of(residual)
        size = self.library.yolo_cuda_conv_implicit_workspace(ctypes.byref(call), pass_)
        return self._run("yolo_cuda_conv_implicit", call, pass_, size, x.device)

    def _run(self, name, call, pass_, size, device):
        workspace = torch.empty(max(size, 16), dtype=torch.uint8, device=device)
        call.workspace, call.workspace_bytes = _pointer(workspace), size
        self.call(name, device, ctypes.byref(call), pass_)

    def im2col_forward(self, a, x, weight, bias=None):
        x, y = _flat(x), _like(x, (a.n, a.k, a.p, a.q))
        bias = None if bias is None else bias.contiguous()
        self._im2col(a, FORWARD, x, weight.contiguous(), bias, y)
        return y

    def im2col_grad_x(self, a, grad_y, weight):
        grad_y, grad_x = _flat(grad_y), _like(grad_y, (a.n, a.c, a.h, a.w))
        self._im2col(a, GRAD_X, grad_x, weight.contiguous(), None, grad_y)
        return grad_x

    def im2col_grad_weight(self, a, x, grad_y):
        shape = (a.k, a.c // a.groups, a.r, a.s)
        if a.n == 0:
            return x.new_zeros(shape)
        grad_weight = x.new_empty(shape)
        self._im2col(a, GRAD_WEIGHT, _flat(x), grad_weight, None, _flat(grad_y))
        return grad_weight

    def implicit_forward(
        self, a, x, weight, bias=None, scale=None, residual=None, activation="linear", out=None
    ):
        """out: NHWC tensor, or slice of one along the channels, that receives the result."""
        y = _nhwc_like(x, (a.n, a.k, a.p, a.q)) if out is None else out
        weight = weight.permute(0, 2, 3, 1).contiguous()
        self._implicit(
            a,
            FORWARD,
            pixels_last(x),
            weight,
            y,
            bias=_float(bias),
            scale=_float(scale),
            residual=None if residual is None else pixels_last(residual),
            activation=ACTIVATION_NUMBERS[activation],
        )
        return y

    def implicit_grad_x(self, a, grad_y, weight):
        grad_x = _nhwc_like(grad_y, (a.n, a.c, a.h, a.w))
        weight = weight.permute(0, 2, 3, 1).contiguous()
        linear = ACTIVATION_NUMBERS["linear"]
        self._implicit(a, GRAD_X, grad_x, weight, pixels_last(grad_y), activation=linear)
        return grad_x

    def implicit_grad_weight(self, a, x, grad_y, splits=0):
        """Float, whatever the type of x and grad_y."""
        shape = (a.k, a.r, a.s, a.c // a.groups)
        if a.n == 0:
            return x.new_zeros(shape, dtype=torch.float32).permute(0, 3, 1, 2)
        out = x.new_empty(shape, dtype=torch.float32)
        linear = ACTIVATION_NUMBERS["linear"]
        x, grad_y = pixels_last(x), pixels_last(grad_y)
        self._implicit(a, GRAD_WEIGHT, x, out, grad_y, activation=linear, splits=splits)
        return out.permute(0, 3, 1, 2)


def _float(tensor):
    return None if tensor is None else tensor.float().contiguous()


def _flat(x):
    """x with rows that follow each other at one step: (h, w) is then one index."""
    h, w = x.shape[2:]
    if (h == 1 or x.stride(2) == w * x.stride(3)) and 0 not in x.stride():
        return x
    return x.contiguous()


def _like(x, shape):
    """An empty tensor in the layout of x: NHWC if that is how x lies, else NCHW."""
    if x.dim() == 4 and x.shape[1] > 1 and pitch_of(x) is not None:
        return _nhwc_like(x, shape)
    return x.new_empty(shape)

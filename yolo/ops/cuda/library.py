"""A library that has the functions of csrc/cuda/cuda_api.h, and how they are called."""

import ctypes
from ctypes import c_char_p, c_int64, c_void_p

import torch

from ...errors import YoloError


class CudaError(YoloError, RuntimeError):
    """A kernel refused its arguments, or a launch failed."""


class Library:
    """The C functions of one file."""

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

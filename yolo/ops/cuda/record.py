"""Kernels whose calls are kept instead of launched, to be run later as one list.

    recorder = Recorder(kernels)
    recorder.implicit_forward(...)          with `out`: what it computes is not there yet
    run = recorder.finish(device)
    run()                                   launches everything on the current stream

Pointers are kept, tensors are not: whoever records keeps inputs, outputs and weights alive, and
hands them over in the form that the kernels take, so that nothing is copied on the way.
"""

import ctypes

import torch

from .kernels import Kernels
from .library import CudaError
from .structs import FUNCTIONS, Step


class Recorder(Kernels):
    def __init__(self, kernels):
        self.path, self.library, self.on_cuda = kernels.path, kernels.library, kernels.on_cuda
        self.recorded, self.most = [], 16

    def room(self, size, device):
        """One scratch memory serves all calls, one after the other."""
        self.most = max(self.most, size)

    def call(self, name, device, struct, pass_=0):
        self.recorded.append((FUNCTIONS.index(name), pass_, struct._obj))

    def finish(self, device):
        """A function that runs the recorded calls, which this object then holds no more."""
        recorded, self.recorded = self.recorded, []
        scratch = torch.empty(self.most, dtype=torch.uint8, device=device)
        steps = (Step * len(recorded))()
        for step, (function, pass_, struct) in zip(steps, recorded, strict=True):
            if hasattr(struct, "workspace"):
                struct.workspace = scratch.data_ptr()
            step.function, step.pass_ = function, pass_
            step.call = ctypes.addressof(struct)
        return Run(self, steps, recorded, scratch)


class Run:
    """Recorded calls, ready to be launched any number of times."""

    def __init__(self, kernels, steps, recorded, scratch):
        self.kernels, self.steps, self.recorded, self.scratch = kernels, steps, recorded, scratch

    def __call__(self):
        done, device = ctypes.c_int(), self.scratch.device
        arguments = self.steps, len(self.steps), ctypes.byref(done)
        try:
            Kernels.call(self.kernels, "yolo_cuda_run", device, *arguments)
        except CudaError as error:
            raise CudaError(f"step {done.value} of {len(self.steps)}: {error}") from None

"""Functions on tensors that are also operators of PyTorch's dispatcher.

In eager mode they are plain calls.  Tracers (torch.compile, torch.export, fake tensors) see
torch.ops.yolo.<name>, whose result's shape a fake implementation states without computing.
"""

import functools

import torch

_library = torch.library.Library("yolo", "DEF")
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def operator(schema, fake):
    """Decorator: registers `function` on the CPU under `schema`; `fake` returns empty results."""

    def register(function):
        name = schema.split("(")[0]
        _library.define(schema)
        _library.impl(name, function, "CPU")
        torch.library.register_fake(f"yolo::{name}", fake, lib=_library)
        traced = getattr(torch.ops.yolo, name).default

        @functools.wraps(function)
        def call(first, *rest):
            if torch.compiler.is_compiling() or type(first) not in _PLAIN or not first.is_cpu:
                return traced(first, *rest)
            return function(first, *rest)

        call.fake = fake
        return call

    return register


def result(like, shape, dtype=None):
    """Empty, as the kernels of the device lay results out: NHWC on CUDA, else contiguous."""
    if like.device.type != "cuda" or len(shape) != 4:
        return like.new_empty(shape, dtype=dtype)
    _, c, h, w = shape
    strides, dtype = (c * h * w, 1, w * c, c), dtype or like.dtype
    return torch.empty_strided(shape, strides, dtype=dtype, device=like.device)


def implement(name, function, device):
    """Registers `function` under the schema of operator `name` for tensors of another device."""
    _library.impl(name, function, device)

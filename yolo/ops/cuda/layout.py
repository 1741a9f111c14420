"""How tensors lie in memory: NHWC with a pixel pitch, or slices of it, for most kernels."""

import torch

from .structs import Rows

ALIGNED = (
    8  # channels: slices that begin at a multiple of them do so at one of 16 bytes in any type
)


def pointer(tensor):
    return None if tensor is None else tensor.data_ptr()


def pitch_of(x):
    """Elements from pixel to pixel of x (n, c, h, w) if it is NHWC or a slice of it, else None."""
    n, c, h, w = x.shape
    if x.is_contiguous(memory_format=torch.channels_last):  # most are
        return c
    pitch = x.stride(3) if w > 1 else x.stride(2) if h > 1 else x.stride(0) if n > 1 else c
    steps = zip(x.shape, x.stride(), nhwc(x.shape, pitch), strict=True)
    lies_so = pitch >= c and all(size == 1 or have == want for size, have, want in steps)
    return pitch if lies_so else None


def nhwc(shape, pitch=None):
    """Strides of a tensor (n, c, h, w) whose pixels follow each other at `pitch`."""
    _, c, h, w = shape
    pitch = pitch or c
    return (pitch * h * w, 1, pitch * w, pitch)


def pixels_last(x):
    """x (n, c, h, w) as NHWC, copied only if it is not so already."""
    return x if pitch_of(x) is not None else empty_nhwc(x, x.shape).copy_(x)


def empty_nhwc(like, shape, dtype=None):
    return torch.empty_strided(shape, nhwc(shape), dtype=dtype or like.dtype, device=like.device)


def rows(x):
    """The struct for x (n, c, h, w), which is NHWC; for None an absent tensor."""
    return Rows() if x is None else Rows(pointer(x), pitch_of(x))


def flat(x):
    """x with rows that follow each other at one step: (h, w) is then one index."""
    h, w = x.shape[2:]
    if (h == 1 or x.stride(2) == w * x.stride(3)) and 0 not in x.stride():
        return x
    return x.contiguous()


def empty_like(x, shape):
    """An empty tensor in the layout of x: NHWC if that is how x lies, else NCHW."""
    if x.shape[1] > 1 and pitch_of(x) is not None:
        return empty_nhwc(x, shape)
    return x.new_empty(shape)


def as_float(tensor):
    return None if tensor is None else tensor.float().contiguous()

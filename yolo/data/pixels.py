"""Images that are in memory already - arrays, tensors, PIL's - as pixels (H, W, 3) in RGB."""

import numpy as np
import torch
from torch import Tensor

KINDS = (
    "a path, a folder, a pattern, a video, an array (H, W, 3) uint8, a PIL image, a tensor "
    "(3, H, W), or a list of these"
)


def is_array(source):
    """Whether this is an image in memory, or a stack of them."""
    return isinstance(source, Tensor) or hasattr(source, "__array_interface__")


def pixels(source, bgr=False):
    """(H, W, 3) uint8, or float32 0..255 where a tensor had fractions; tensors may have any number
    of channels."""
    if isinstance(source, Tensor):
        return _from_tensor(source)
    if not is_array(source):
        raise TypeError(f"predict: cannot use {type(source).__name__}; expected {KINDS}")
    if hasattr(source, "getexif"):
        return _from_pil(source)
    return _from_array(np.asarray(source), bgr)


def _from_pil(image):
    """Turned upright, grey and palette to RGB, transparency dropped: as a file is read."""
    from PIL import ImageOps

    if image.mode[0] in "IF":
        raise ValueError(f"predict: PIL image of mode {image.mode}, expected 8 bits a channel")
    return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def _from_array(image, bgr):
    if image.ndim == 2:
        image = image[:, :, None]
    if image.dtype != np.uint8 or image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"predict: array is {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    if image.shape[2] not in (3, 4):
        raise ValueError(f"predict: array has shape {image.shape}, expected (H, W, 3)")
    return np.ascontiguousarray(image[:, :, 2::-1] if bgr else image[:, :, :3])


def _from_tensor(tensor):
    if tensor.dim() != 3 or tensor.numel() == 0:
        raise ValueError(f"predict: tensor has shape {tuple(tensor.shape)}, expected (3, H, W)")
    pixels = tensor.detach().cpu().permute(1, 2, 0)
    if tensor.dtype == torch.uint8:
        return pixels.contiguous().numpy()
    if not tensor.is_floating_point():
        raise ValueError(f"predict: tensor is {tensor.dtype}, expected uint8 or float 0..1")
    pixels = pixels.float()
    low, high = pixels.aminmax()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"predict: tensor has values {low:g} to {high:g}, expected 0 to 1")
    return pixels.mul(255).contiguous().numpy()

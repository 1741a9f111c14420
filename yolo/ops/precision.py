"""How convolutions multiply, and in which type activations are kept: a choice within a block.

    with precision("bf16"):
        loss = net.loss(x, boxes)

    exact, fp32   float32 as it is: every convolution the direct sum of float32 products
    fast          CPU: 3x3 convolutions by Winograd, about four times the rounding error
    tf32          CUDA: tensor cores, 10 bits of mantissa in the factors, sums float32
    bf16, fp16    CUDA: activations in 16 bits; parameters, their gradients, statistics and all
                  sums stay float32. CPU, bf16 only and not in training: activations and weights in
                  16 bits, sums float32, on processors with AVX512-BF16 or AMX

GPUs before compute capability 8.0 compute fp32 alone.
A word that belongs to the other kind of device leaves float32 as it is. torch.autocast on CUDA
chooses bf16 or fp16 as well. WORDS says which words a user may choose on which device, and
INFERENCE_WORDS those besides where nothing is trained.
"""

import torch

from ..errors import YoloError
from .switch import Switch

PRECISIONS = ("exact", "fast", "fp32", "tf32", "bf16", "fp16")
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# device -> word -> what it means; the first word is the default
WORDS = {
    "cpu": {
        "fast": "3x3 convolutions by Winograd",
        "exact": "every convolution summed directly",
    },
    "cuda": {
        "fp32": "float32 throughout",
        "tf32": "convolutions multiply TF32",
        "bf16": "activations in bfloat16",
        "fp16": "activations in float16",
    },
}
INFERENCE_WORDS = {"cpu": {"bf16": "activations and weights in bfloat16"}, "cuda": {}}
precision = Switch("precision", PRECISIONS)


class PrecisionError(YoloError, ValueError):
    """A precision that the device does not compute."""


def precision_for(device, word=None, training=False):
    """The word, or the default of this device ("cpu", "cuda"); refuses what it cannot compute."""
    kind = torch.device(device).type
    known = WORDS[kind] if training else WORDS[kind] | INFERENCE_WORDS[kind]
    if word is None:
        return next(iter(known))
    if word not in known:
        others = [name for name, words in WORDS.items() if word in words]
        hint = f"; {word} is for {others[0]}" if others else ""
        here = f"{device} trains in" if training else f"{device} computes"
        raise PrecisionError(f"precision {word}: {here} {', '.join(known)}{hint}")
    if kind == "cuda" and word != "fp32" and torch.cuda.is_available():
        check_tensor_cores(device, f"precision {word}")
    return word


def check_tensor_cores(device, what):
    """Raises where a GPU is older than our kernels for tensor cores."""
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        name = torch.cuda.get_device_name(device)
        raise PrecisionError(
            f"{what} needs a GPU of compute capability 8.0 or later; {name} has {major}.{minor} "
            "and computes fp32"
        )


def half_type(device):
    """The 16-bit type that float32 activations on this device are to have now, or None."""
    if device.type == "cuda" and torch.is_autocast_enabled("cuda"):
        dtype = torch.get_autocast_dtype("cuda")
        return dtype if dtype in HALVES.values() else None
    return HALVES.get(precision.current)


def narrowed(x):
    """x in 16 bits if it is float32 and the precision asks for that."""
    dtype = half_type(x.device)
    return x if dtype is None or x.dtype != torch.float32 else x.to(dtype)


def sum_type(dtype):
    """The type of sums over values of `dtype`, and of parameters beside them."""
    return torch.float64 if dtype == torch.float64 else torch.float32

"""Memory: what an error of an allocator looks like, and how many subdivisions fit."""

import gc
import resource
from pathlib import Path

import torch

from .. import ranks
from ..errors import YoloError

SHARE = 0.85  # of the memory that is free: the rest is for the loader, and for what comes later
FEW = 5  # images of the second try
WORDS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


class MemoryLimit(YoloError, RuntimeError):
    """Not even a single image fits."""


def is_out_of_memory(error):
    """Whether an exception says that an allocator had no more: PyTorch's on the CPU raises a
    plain RuntimeError, our kernels a MemoryError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS)


def more_subdivisions(options):
    """Subdivisions that make the mini-batch half as large, or less, and divide the batch; None
    where it is one image already."""
    batch, now = images_of(options), options.subdivisions
    if now >= batch:
        return None
    return next(n for n in range(min(2 * now, batch), batch + 1) if batch % n == 0)


def images_of(options):
    """Images of a batch (sequences, with time_steps) that subdivisions may divide."""
    return options.effective_batch // options.time_steps


def set_subdivisions(net, subdivisions):
    """Other mini-batches, the same images an update; written into the cfg as well."""
    batch = images_of(net.options)
    net.options.batch, net.options.subdivisions = batch, subdivisions
    net.sections[0].set("batch", batch)
    net.sections[0].set("subdivisions", subdivisions)


def fit_subdivisions(net, size, device, say):
    """--auto-batch: the fewest subdivisions whose mini-batch of images of `size` (height, width)
    fits into the memory that is free.

    One image and a few are tried; what the further ones take, all others will take.
    """
    batch = images_of(net.options)
    free, before, few = free_memory(device), _used(device), min(batch, FEW)
    one = _peak(net, 1, size, device) - before
    more = _peak(net, few, size, device) - before - one if few > 1 else 0
    each = max(1, more // max(1, few - 1))
    fits = [
        n
        for n in range(1, batch + 1)
        if batch % n == 0 and one + (own(batch // n) - 1) * each <= free
    ]
    if one > free or not fits:
        raise MemoryLimit(
            f"one image of {size[1]}x{size[0]} needs {one / 1e6:.0f} MB for a training step, "
            f"{free / 1e6:.0f} MB are free; lower width and height"
        )
    say(
        f"--auto-batch: at {size[1]}x{size[0]} one image needs {one / 1e6:.0f} MB, each further "
        f"one {each / 1e6:.0f} MB, {free / 1e6:.0f} MB may be used: "
        f"{fits[0]} subdivisions of {batch // fits[0]} images"
    )
    set_subdivisions(net, fits[0])


def own(images):
    """Images of a mini-batch that fall to one rank, at most."""
    return -(-images // ranks.count())


def free_memory(device):
    """Bytes that a step may take: of the GPU, or of what the machine, its container and the
    limit of the process leave, each rank of the machine having its share."""
    if device.type == "cuda":
        return int(SHARE * torch.cuda.mem_get_info(device)[0])
    free = [_available() // ranks.on_this_machine()]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        free.append(soft - _status("VmSize"))
    return int(SHARE * max(0, min(free)))


def _available():
    """Bytes that the machine, and the container if there is a limit, have left."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.is_file() and used.is_file() and limit.read_text().strip() != "max":
        found.append(int(limit.read_text()) - int(used.read_text()))
    return min(found)


def _status(key):
    """Bytes of one line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"--auto-batch: /proc/self/status has no {key}")


def _used(device):
    """Bytes in use now."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _status("VmRSS")


def _peak(net, images, size, device):
    """Bytes in use at most during a training step of so many images, all others of the process
    among them; weights and statistics stay as they are."""
    gc.collect()
    height, width = net.input_shape[1:]
    statistics = [buffer.clone() for buffer in net.buffers()]
    net.resize(*size).train()
    try:
        return _measured(lambda: _step(net, images, size, device), device)
    finally:
        net.zero_grad(set_to_none=True)
        net.resize(height, width)
        with torch.no_grad():
            for buffer, value in zip(net.buffers(), statistics, strict=True):
                buffer.copy_(value)


def _step(net, images, size, device):
    """Forward and backward of grey noise with one object an image."""
    x = torch.rand(images, net.input_shape[0], *size, device=device)
    numbers = torch.arange(images, dtype=torch.float32)[:, None]
    boxes = torch.cat([numbers, torch.tensor([[0, 0.5, 0.5, 0.2, 0.2]]).expand(images, 5)], 1)
    net.loss(x, boxes.to(device)).total.backward()


def _measured(run, device):
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    except OSError as error:
        raise OSError(f"--auto-batch needs /proc of Linux on the CPU: {error}") from None
    run()
    return _status("VmHWM")

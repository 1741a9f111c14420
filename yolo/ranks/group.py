"""Joining the other ranks, and what is said between them.

Every function here is called by all ranks, in the same order. Tensors travel over NCCL where they
lie on GPUs, over gloo otherwise; everything else travels as JSON or as bytes with a format of
their own, never as a pickle. A rank that has left, or has not answered within the time that
`joined` was given, is a RankError on all others: none waits for ever.
"""

import json
import os
import re
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice

import torch
import torch.distributed as dist

from ..errors import YoloError

LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets

START = 300.0  # seconds within which all ranks must have started
SOURCE = re.compile(r"^\[[^]]*\] ?")  # the line of gloo's that its messages begin with


class RankError(YoloError, RuntimeError):
    """Another rank has left, does not answer, or has other data."""


def count():
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def number():
    """Which of them this process is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def first():
    """Whether this process writes files and speaks to the user."""
    return number() == 0


def launched():
    """Whether torchrun has started this process."""
    return all(key in os.environ for key in LAUNCHED)


def started_again():
    """Whether torchrun has started this process in place of one that failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def job():
    """What torchrun calls the job (--rdzv-id), the same after each of its starts; None: no name."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return None if name == "none" else name


@contextmanager
def joined(seconds, device="cpu"):
    """Within the block this process belongs to the ranks that torchrun has started; without
    torchrun it is alone. No answer of another rank is waited for longer than `seconds`, but for
    the first: processes do not start at the same moment."""
    if not launched() or os.environ["WORLD_SIZE"] == "1":
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    with waiting():
        _join(backend, timedelta(seconds=max(START, seconds)))
        dist.distributed_c10d._set_pg_timeout(timedelta(seconds=seconds))
    try:
        yield
    finally:
        dist.destroy_process_group()


def _join(backend, patience):
    """torchrun keeps its store when it starts processes again, and with it the addresses of those
    that are gone: each start has names of its own there."""
    store, rank, size = next(dist.rendezvous("env://", timeout=patience))
    start = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}-of-{size}"
    how = {"store": dist.PrefixStore(start, store), "rank": rank, "world_size": size}
    dist.init_process_group(backend, timeout=patience, **how)


@contextmanager
def waiting():
    """A block in which other ranks are waited for."""
    try:
        yield
    except RuntimeError as error:  # the base of every error of torch.distributed
        reason = SOURCE.sub("", str(error).strip().splitlines()[0]).split(". ")[0]
        raise RankError(
            f"another rank has left, or has not answered in time ({reason}); go on with --resume"
        ) from None


def on_this_machine():
    """How many ranks share its cores and memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if dist.is_initialized() else 1


def local():
    """Which of them this process is: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


def mine(items):
    """Bounds of this rank's share of so many items: all shares together are the whole."""
    return items * number() // count(), items * (number() + 1) // count()


def round_robin(items):
    """The items that are this rank's where they go round: 0, N, 2 N ... of the first of N."""
    return (item for turn, item in enumerate(items) if turn % count() == number())


_leave = []  # (wish, error) of breaking_off()


@contextmanager
def breaking_off(wish, error):
    """Within the block in_turns() raises `error` on all ranks as soon as wish() holds on one."""
    _leave.append((wish, error))
    try:
        yield
    finally:
        _leave.pop()


def in_turns(own, pack, unpack):
    """What all ranks made of their round_robin(), in the order of the whole, on every rank.
    pack: item -> bytes; unpack: bytes -> item."""
    if count() == 1:
        yield from own
        return
    own = iter(own)
    while True:
        made = b"".join(b"+" + pack(item) for item in islice(own, 1))
        parts = everyone(b"!" if any(wish() for wish, _ in _leave) else made)
        if b"!" in parts:
            raise _leave[-1][1]
        for part in parts:
            if not part:
                return
            yield unpack(part[1:])


def summed(tensor):
    """The tensor in place, summed over the ranks."""
    if count() > 1:
        with waiting():
            dist.all_reduce(tensor)
    return tensor


def gathered(tensor):
    """(N, ...): the tensors of all ranks, which have the same shape."""
    if count() == 1:
        return tensor[None]
    parts = tensor.new_empty((count(), *tensor.shape))
    with waiting():
        dist.all_gather(list(parts), tensor.contiguous())
    return parts


def largest(*numbers):
    """Of each number the largest on any rank."""
    if count() == 1:
        return numbers
    found = torch.tensor(numbers, dtype=torch.float64)
    with waiting():
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return tuple(type(n)(value) for n, value in zip(numbers, found.tolist(), strict=True))


def any_rank(condition):
    """Whether the condition holds on any rank."""
    return bool(largest(int(bool(condition)))[0])


def everyone(value):
    """What each rank has put in: values as JSON knows them, or bytes."""
    if count() == 1:
        return [value]
    if not isinstance(value, bytes):
        return [json.loads(text) for text in everyone(json.dumps(value).encode())]
    sizes = gathered(torch.tensor([len(value)])).flatten().tolist()
    own = torch.zeros(max(1, *sizes), dtype=torch.uint8)
    own[: len(value)] = torch.frombuffer(bytearray(value or b"\0"), dtype=torch.uint8)[: len(value)]
    parts = gathered(own)
    return [part[:size].numpy().tobytes() for part, size in zip(parts, sizes, strict=True)]


def one_then_all(work):
    """What `work()` gives, called by the first rank and then by the others: it may leave on the
    disk what they find there."""
    if first():
        made = work()
    any_rank(False)  # waits for the first
    return made if first() else work()


def from_first(work):
    """The bytes that `work()` gives on the first rank, on every rank; others do not call it.
    Where it fails there, the others end as well."""
    if count() == 1:
        return work()
    try:
        content = work() if first() else None
    except BaseException:
        largest(-1)
        raise
    size = largest(len(content) if first() else -1)[0]
    if size < 0:
        raise RankError("the first rank has failed")
    data = torch.zeros(max(1, size), dtype=torch.uint8)
    if first() and size:
        data.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    with waiting():
        dist.broadcast(data, 0)
    return content if first() else data[:size].numpy().tobytes()

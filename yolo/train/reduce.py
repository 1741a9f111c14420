"""Gradients of all ranks, summed once an iteration while the backward pass still runs.

Darknet adds gradients up over a batch and divides by nothing but the number of its images, in the
update. So the ranks' gradients are summed, not averaged, in the last mini-batch of an iteration:
as soon as all gradients of a bucket are there, its sum is under way. Buckets hold parameters from
the last layer to the first, and travel in that order on every rank.
"""

from contextlib import contextmanager

import torch
import torch.distributed as dist

from .. import ranks

BUCKET = 4 << 20  # bytes of gradients that travel together: docs/scale.md has the figures


class Bucket:
    """Parameters whose gradients travel together."""

    def __init__(self, parameters):
        self.parameters, self.missing = parameters, 0
        self.sums = self.work = None

    def send(self, dtype):
        """Starts the sum of what this rank has; a parameter that was not reached counts as 0."""
        parts = [p.new_zeros(p.numel()) if p.grad is None else p.grad for p in self.parameters]
        self.sums = torch.cat([part.reshape(-1).to(dtype or part.dtype) for part in parts])
        with ranks.waiting():
            self.work = dist.all_reduce(self.sums, async_op=True)

    def receive(self):
        """Puts the sums in the place of this rank's gradients."""
        with ranks.waiting():
            self.work.wait()
        sums = self.sums.split([p.numel() for p in self.parameters])
        reached = [(p.grad, s) for p, s in zip(self.parameters, sums, strict=True) if has_grad(p)]
        for grad, total in reached:
            grad.copy_(total.view_as(grad))
        self.sums = self.work = None


def has_grad(parameter):
    """Whether a loss has reached it: the same on every rank, for all run the same layers."""
    return parameter.grad is not None


class Reducer:
    """Sums the gradients of a network over the ranks; of a single rank it does nothing.

    dtype: what travels, torch.bfloat16 or that of the gradients.
    sync_bn: whether batch normalisation, too, is to be over the images of all ranks.
    """

    def __init__(self, net, dtype=None, sync_bn=False, bucket=BUCKET):
        self.net, self.dtype, self.sync_bn = net, dtype, sync_bn
        self.buckets, self.place = [], {}
        self.next, self.armed = 0, False
        if ranks.count() > 1:
            self._fill([p for p in net.parameters() if p.requires_grad], bucket)

    def _fill(self, parameters, limit):
        size, held = 0, []
        for parameter in reversed(parameters):
            held.append(parameter)
            size += parameter.numel() * parameter.element_size()
            if size >= limit:
                self.buckets.append(Bucket(held))
                size, held = 0, []
        if held:
            self.buckets.append(Bucket(held))
        for bucket in self.buckets:
            for parameter in bucket.parameters:
                self.place[parameter] = bucket
                parameter.register_post_accumulate_grad_hook(self._arrived)

    @contextmanager
    def backward(self, last):
        """A backward pass; in the last one of an iteration buckets leave as they are filled."""
        for bucket in self.buckets:
            bucket.missing = len(bucket.parameters)
        self.next, self.armed = 0, last
        try:
            yield
        finally:
            self.armed = False

    def _arrived(self, parameter):
        if self.armed:
            self.place[parameter].missing -= 1
            while self.next < len(self.buckets) and not self.buckets[self.next].missing:
                self._send_next()

    def _send_next(self):
        self.buckets[self.next].send(self.dtype)
        self.next += 1

    @torch.no_grad()
    def finish(self):
        """Waits for the sums; gives every rank the same gradients and rolling statistics."""
        while self.next < len(self.buckets):
            self._send_next()
        for bucket in self.buckets:
            bucket.receive()
        if self.buckets:
            average_buffers(self.net)


def average_buffers(net):
    """Rolling statistics become the mean of what the ranks have. They move by a linear rule, so
    that this is to move them by the mean of the ranks' statistics."""
    for dtype in {buffer.dtype for buffer in net.buffers()}:
        buffers = [buffer for buffer in net.buffers() if buffer.dtype == dtype]
        flat = ranks.summed(torch.cat([buffer.reshape(-1) for buffer in buffers]))
        for buffer, total in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(total.view_as(buffer) / ranks.count())


def same_start(net):
    """Every rank takes the parameters and buffers of the first."""
    if ranks.count() > 1:
        for tensor in net.state_dict().values():
            with ranks.waiting():
                dist.broadcast(tensor, 0)

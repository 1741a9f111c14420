"""The factor of the loss in fp16, whose smallest gradients would else become 0.

Gradients are as many times larger until the update, or smaller: Darknet's losses are sums, and an
untrained network's may overflow as they are. Where one overflows, the iteration is done
again with half the factor; after PERIOD iterations without, the factor is doubled ("Mixed Precision
Training", Micikevicius et al. 2018). Factors are powers of 2: they round nothing.
"""

import torch

FIRST, LEAST, MOST, PERIOD = 2.0**10, 2.0**-14, 2.0**24, 1000


class LossScale:
    """value: the factor; 1 for every precision but fp16, and it stays so."""

    def __init__(self, precision):
        self.value = FIRST if precision == "fp16" else 1.0
        self.changes = precision == "fp16"
        self.calm = 0  # iterations since an overflow or a change

    def lower(self):
        """After an overflow: whether there is a smaller factor to try."""
        if not self.changes or self.value <= LEAST:
            return False
        self.value, self.calm = self.value / 2, 0
        return True

    def advance(self):
        """After an iteration without an overflow."""
        self.calm += 1
        if self.changes and self.calm >= PERIOD and self.value < MOST:
            self.value, self.calm = 2 * self.value, 0

    def undo(self, net):
        """Takes the factor out of the gradients."""
        grads = [p.grad for p in net.parameters() if p.grad is not None]
        if self.value != 1 and grads:
            torch._foreach_mul_(grads, 1 / self.value)

    def kept(self):
        """For the checkpoint; None where there is nothing to keep."""
        return [self.value, self.calm] if self.changes else None

    def restore(self, kept):
        """As it was when kept() was asked. A run of another precision knows nothing: kept is None,
        or is not needed now."""
        if self.changes and kept:
            self.value, self.calm = kept

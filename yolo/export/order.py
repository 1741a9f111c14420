"""Regions of two programs side by side: of scores that are nearly equal the last bit decides which
region comes first, so that only the regions themselves can be compared, not their order."""

import numpy as np
import torch


def as_ours(net, wanted, found, nodes):
    """Arrays of another program, in the order of the network's regions; as they are where there are
    none, or where their shapes are others."""
    heads = [net.layers[i] for i in net.heads]
    if any(a.shape != b.shape for a, b in zip(wanted, found, strict=True)):
        return found
    if nodes == "heads":
        return [
            turned(arranged([turned(a)], [turned(b)], head.named.proposals)[0])
            if hasattr(head, "named")
            else b
            for head, a, b in zip(heads, wanted, found, strict=True)
        ]
    if len(heads) == 1 and hasattr(heads[0], "named"):
        return arranged(wanted, found, heads[0].named.proposals)
    return found


def turned(y):
    """Entries (N, entries, regions, 1) <-> (N, regions, entries, 1)"""
    return y.swapaxes(1, 2)


def arranged(wanted, found, count):
    """[(N, count * n, ...)] in the order of `wanted`; the arrays of a list belong together."""
    ours, theirs = (np.concatenate([rows(y, count) for y in ys], 2) for ys in (wanted, found))
    order = np.stack([nearest(*images) for images in zip(ours, theirs, strict=True)])[..., None]
    return [np.take_along_axis(rows(y, count), order, 1).reshape(y.shape) for y in found]


def rows(y, count):
    return y.reshape(len(y), count, -1)


def nearest(ours, theirs):
    """For each row of ours the number of the nearest one of theirs; each is taken once."""
    exact = "donot_use_mm_for_euclid_dist"
    apart = torch.cdist(*map(torch.from_numpy, (ours, theirs)), compute_mode=exact).numpy()
    order = np.empty(len(apart), np.int64)
    for i, row in enumerate(apart):
        order[i] = row.argmin()  # NaN is the smallest
        apart[:, order[i]] = np.inf
    return order

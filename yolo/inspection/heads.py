"""Checks of detection heads: anchors, masks, classes, and the convolution before each."""

from itertools import pairwise

from ..layers.head import AnchorHead, Head

WARNING, NOTE = "warning", "note"


def check_heads(layers, found):
    """Adds what the heads of a network have against each other and the layers before them."""
    heads = [layer for layer in layers if isinstance(layer, Head)]
    _check_classes(heads, found)
    anchored = [head for head in heads if isinstance(head, AnchorHead)]
    for head in anchored:
        _check_anchors(head, found)
        _check_before(layers, head, found)
    if len(anchored) > 1:
        _check_masks(anchored, found)
        _check_order(anchored, found)


def _check_classes(heads, found):
    for head in heads[1:]:
        if head.classes != heads[0].classes:
            text = f"classes={head.classes}, where layer {heads[0].index} has {heads[0].classes}"
            found.add("error", head.section, text, "classes")


def _check_anchors(head, found):
    sides = head.section.values.get("anchors") or []
    if len(sides) > 2 * head.num:
        text = f"anchors: {len(sides) // 2} are given, of which the first num={head.num} count"
        found.add(WARNING, head.section, text, "anchors")
    if len(set(head.mask)) < len(head.mask):
        found.add(WARNING, head.section, "mask names an anchor twice", "mask")


def _check_before(layers, head, found):
    """What the convolution before a head ought to look like."""
    before = layers[head.sources[0]]
    if not hasattr(before, "filters") or not hasattr(before, "batch_normalize"):
        return
    if before.batch_normalize:
        text = f"batch_normalize=1 right before the head of layer {head.index}"
        found.add(WARNING, before.section, text, "batch_normalize")
    wanted = "logistic" if getattr(head, "new_coords", False) else "linear"
    if before.activation != wanted:
        text = f"activation={before.activation}; the head of layer {head.index} expects {wanted}"
        if wanted == "logistic":
            text += " with new_coords=1"
        found.add(WARNING, before.section, text, "activation")


def _check_masks(heads, found):
    """Heads with the same anchors share them out."""
    anchors = heads[0].anchors
    if any(head.anchors != anchors for head in heads):
        odd = next(head for head in heads if head.anchors != anchors)
        text = f"anchors differ from those of layer {heads[0].index}"
        found.add(NOTE, odd.section, text, "anchors")
        return
    used = [n for head in heads for n in head.mask]
    unused = sorted(set(range(len(anchors))) - set(used))
    if unused:
        text = f"mask: no head uses anchor {', '.join(map(str, unused))}"
        found.add(NOTE, heads[-1].section, text, "mask")
    for head in heads[1:]:
        earlier = {n for other in heads[: heads.index(head)] for n in other.mask}
        for n in sorted(earlier & set(head.mask)):
            text = f"mask: anchor {n} belongs to another head already"
            found.add(NOTE, head.section, text, "mask")


def _check_order(heads, found):
    """Large anchors belong to coarse grids."""

    def size(head):
        chosen = [head.anchors[n] for n in head.mask]
        return sum(w * h for w, h in chosen) / len(chosen)

    ranked = sorted(heads, key=lambda head: head.out_shape[1] * head.out_shape[2], reverse=True)
    for fine, coarse in pairwise(ranked):
        if fine.out_shape[1:] != coarse.out_shape[1:] and size(fine) > size(coarse):
            text = (
                f"mask: its anchors are smaller than those of layer {fine.index}, whose grid is "
                f"finer ({fine.out_shape[2]} x {fine.out_shape[1]})"
            )
            found.add(WARNING, coarse.section, text, "mask")

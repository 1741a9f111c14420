"""Darknet's two rearrangements of blocks of s x s pixels into channels, s being the stride.

Both walk one map between a small index [oy][ox][c'][j][i] and a large one [c'][j][oy][i][ox],
(i, j, c') over W x H x C / s^2 and (ox, oy) over s x s:

    reorg3d   W x H x C are the sizes of the output: a true space-to-depth
    reorg     W x H x C are the sizes of the input: YOLOv2's order, the buffer being reinterpreted

reverse walks the same map the other way (for reorg3d that is not its inverse, as in Darknet).
"""

from .shapes import ShapeError, same_type


def reorg(x, stride, reverse=False):
    """x (n, c, h, w) -> (n, c s^2, h / s, w / s); reverse: (n, c / s^2, h s, w s)."""
    return _walk(x, x.shape[1:], _out_shape(x, stride, reverse, "reorg"), stride, reverse, "reorg")


def reorg3d(x, stride, reverse=False):
    """x (n, c, h, w) -> (n, c s^2, h / s, w / s); reverse: (n, c / s^2, h s, w s)."""
    out = _out_shape(x, stride, reverse, "reorg3d")
    return _walk(x, out, out, stride, reverse, "reorg3d")


def _out_shape(x, s, reverse, what):
    if x.dim() != 4:
        raise ShapeError(f"{what}: x needs 4 dimensions (n, c, h, w), got {tuple(x.shape)}")
    same_type(what, x=x)
    c, h, w = x.shape[1:]
    if s < 1 or (c % (s * s) if reverse else h % s or w % s):
        axis = "the square of it must divide the channels" if reverse else "it must divide h and w"
        raise ShapeError(f"{what}: stride {s} does not fit x {tuple(x.shape)}; {axis}")
    return (c // (s * s), h * s, w * s) if reverse else (c * s * s, h // s, w // s)


def _walk(x, sizes, out, s, reverse, what):
    c, h, w = sizes
    if c % (s * s):
        raise ShapeError(
            f"{what}: stride {s} needs a multiple of {s * s} channels in ({c}, {h}, {w}), "
            f"x is {tuple(x.shape)}"
        )
    n, d = x.shape[0], c // (s * s)
    if reverse:
        moved = x.reshape(n, s, s, d, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        moved = x.reshape(n, d, h, s, w, s).permute(0, 3, 5, 1, 2, 4)
    return moved.reshape(n, *out)

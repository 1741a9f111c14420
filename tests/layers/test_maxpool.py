"""[maxpool]: Darknet's rule for sizes and padding."""

import pytest
import torch
import torch.nn.functional as F

from yolo.cfg import CfgError


def windows(x, size, stride, padding):
    """Each window looked at cell by cell."""
    n, c, h, w = x.shape
    rows, cols = (h + padding - size) // stride[0] + 1, (w + padding - size) // stride[1] + 1
    y = x.new_full((n, c, rows, cols), float("-inf"))
    for i in range(rows):
        for j in range(cols):
            top, left = i * stride[0] - padding // 2, j * stride[1] - padding // 2
            part = x[:, :, max(top, 0) : top + size, max(left, 0) : left + size]
            y[:, :, i, j] = part.amax((2, 3))
    return y


@pytest.mark.parametrize(
    ("keys", "size", "stride", "padding"),
    [
        ("size=2 stride=2", 2, (2, 2), 1),
        ("size=2 stride=1", 2, (1, 1), 1),
        ("size=5 stride=1", 5, (1, 1), 4),
        ("size=13 stride=1", 13, (1, 1), 12),
        ("size=3 stride=2", 3, (2, 2), 2),
        ("size=2 stride=2 padding=0", 2, (2, 2), 0),
        ("stride=2", 2, (2, 2), 1),
        ("size=3 stride_x=2 stride_y=1", 3, (1, 2), 2),
    ],
)
def test_equals_plain_windows(layer, image, keys, size, stride, padding):
    pool = layer("[maxpool]\n" + keys.replace(" ", "\n"), (2, 7, 9))
    x = image(2, 2, 7, 9)
    expected = windows(x, size, stride, padding)
    assert pool.out_shape == tuple(expected.shape[1:])
    torch.testing.assert_close(pool(x), expected)


def test_gradient_goes_to_the_largest(layer, image):
    pool = layer("[maxpool]\nsize=2\nstride=2", (1, 5, 5))
    x = torch.randperm(25, dtype=torch.float64).view(1, 1, 5, 5).requires_grad_()
    assert torch.autograd.gradcheck(pool, (x,))


def test_first_of_equal_values_gets_the_gradient(layer):
    pool = layer("[maxpool]\nsize=2\nstride=2\npadding=0", (1, 2, 2))
    x = torch.ones(1, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    pool(x).sum().backward()
    assert x.grad.flatten().tolist() == [1, 0, 0, 0]


def test_depth_takes_every_nth_channel(layer, image):
    pool = layer("[maxpool]\nmaxpool_depth=1\nout_channels=2", (6, 3, 3))
    x = image(2, 6, 3, 3)
    expected = torch.stack([x[:, 0::2].amax(1), x[:, 1::2].amax(1)], 1)
    assert pool.out_shape == (2, 3, 3)
    torch.testing.assert_close(pool(x), expected)


def test_spp_keeps_the_size(build, image):
    x = image(1, 3, 8, 8)
    for size in (5, 9, 13):
        pool = build(f"[maxpool]\nstride=1\nsize={size}").layers[0]
        torch.testing.assert_close(pool(x), F.max_pool2d(x, size, 1, size // 2))


def test_refuses_a_window_larger_than_the_image(build):
    with pytest.raises(CfgError, match=r"test.cfg:6: \[maxpool\] size=9 is larger"):
        build("[maxpool]\nsize=9\npadding=0\n")

"""[local]: one small convolution a place, from another direction than the layer's own."""

import pytest
import torch
import torch.nn.functional as F

from yolo.cfg import CfgError

YOLOV1 = "[local]\nsize=3\nstride=1\npad=1\nfilters=4\nactivation=leaky"


@pytest.mark.parametrize("keys", ["pad=1\nsize=3", "size=2\nstride=2", "size=3", "size=1"])
def test_every_place_is_a_convolution_of_its_window(layer, image, keys):
    module = layer(f"[local]\nfilters=4\nactivation=linear\n{keys}", (3, 6, 8))
    x = image(2, 3, 6, 8)
    y = module(x)
    size, stride, pad = module.size, module.stride, module.pad
    padded, (_, rows, cols) = F.pad(x, [pad] * 4), module.out_shape
    assert y.shape == (2, 4, rows, cols)
    for i in range(rows):
        for j in range(cols):
            window = padded[..., i * stride : i * stride + size, j * stride : j * stride + size]
            weight = module.weight[i * cols + j].view(4, 3, size, size)
            expected = F.conv2d(window, weight)[..., 0, 0] + module.bias[:, i, j]
            torch.testing.assert_close(y[..., i, j], expected)


def test_equal_weights_everywhere_make_a_convolution(layer, image):
    module = layer(YOLOV1)
    module.weight.data[:] = module.weight[0]
    module.bias.data[:] = module.bias[:, :1, :1]
    x = image(2, 3, 8, 8)
    plain = F.conv2d(x, module.weight[0].view(4, 3, 3, 3), module.bias[:, 0, 0], padding=1)
    torch.testing.assert_close(module(x), F.leaky_relu(plain, 0.1))


def test_gradients(layer, image):
    section = YOLOV1.replace("leaky", "tanh").replace("filters=4", "filters=2")
    module = layer(section, (2, 2, 3))
    x = image(2, 2, 2, 3).requires_grad_()

    def run(x, weight, bias):
        return torch.func.functional_call(module, {"weight": weight, "bias": bias}, x)

    assert torch.autograd.gradcheck(run, (x, module.weight, module.bias))


def test_what_the_file_holds(layer):
    module = layer(YOLOV1)
    bias, weight = module.stored()
    assert bias.shape == (4, 8, 8)  # as the output lies
    assert weight.shape == (64, 4, 27)  # place after place
    assert module.flops() == 2 * 64 * 4 * 27


def test_refusals(layer, build):
    with pytest.raises(CfgError, match=r"test.cfg:7: \[local\] pad=2 does not go with size=3"):
        layer("[local]\nsize=3\npad=2")
    with pytest.raises(CfgError, match="has weights for 8 x 8 places, not for 16 x 16"):
        build(YOLOV1).resize(16, 16)

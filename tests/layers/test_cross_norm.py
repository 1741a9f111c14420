"""cbn=1: statistics over the mini-batches of an iteration, against Darknet's formulas in loops."""

import copy

import pytest
import torch

from yolo.ops import backend, rolling_pair

CBN = "[conv]\nfilters=3\nsize=1\nactivation=logistic\ncbn=1\n"
STEPS = 3  # mini-batches of an iteration
EPS = 1e-5


def reference(x, grad_y, scale, bias, kept):
    """One mini-batch of one channel, x and grad_y lists of numbers, as the formulas stand:
    (y, grad_x, grad_scale, grad_bias); `kept`: M, Q, t, rolling mean and variance, moved."""
    m = len(x)
    mean, square = sum(x) / m, sum(v * v for v in x) / (m - 1)
    kept["t"] = kept["t"] % STEPS + 1
    alpha = 1 / kept["t"]
    kept["M"] = alpha * mean + (1 - alpha) * kept["M"]
    kept["Q"] = alpha * max(square, mean**2) + (1 - alpha) * kept["Q"]
    var = max(0.0, kept["Q"] - kept["M"] ** 2)
    kept["mean"] = 0.99 * kept["mean"] + 0.01 * kept["M"]
    kept["var"] = 0.99 * kept["var"] + 0.01 * var
    root = (var + EPS) ** 0.5
    z = [(v - kept["M"]) / root for v in x]
    y = [1 / (1 + 2.718281828459045 ** -(scale * v + bias)) for v in z]
    g = [gy * v * (1 - v) for gy, v in zip(grad_y, y, strict=True)]
    grad_scale = sum(a * b for a, b in zip(g, z, strict=True))
    delta = [v * scale for v in g]
    a = -sum(delta) / root
    centred = [v - kept["M"] for v in x]
    b = -0.5 * sum(d * c for d, c in zip(delta, centred, strict=True)) * root**-3
    grad_x = [d / root + 2 * b * c / m + a / m for d, c in zip(delta, centred, strict=True)]
    return y, grad_x, grad_scale, sum(g)


@pytest.fixture
def cross(build):
    """A [convolutional] that passes its input on to cbn, in training."""
    net = build(CBN).train()
    net.options.subdivisions = STEPS
    module = net.layers[0]
    module.weight.data.copy_(torch.eye(3).view(3, 3, 1, 1))
    return module


@pytest.mark.parametrize("kind", ["native", "torch"])
def test_statistics_and_gradients_over_two_iterations(cross, image, kind):
    kept = [
        {"M": 0.0, "Q": 0.0, "t": 0, "mean": float(m), "var": float(v)}
        for m, v in zip(cross.rolling_mean, cross.rolling_var, strict=True)
    ]
    for number in range(2 * STEPS):
        generator = torch.Generator().manual_seed(number)
        x = (image(2, 3, 2, 3) * (number + 1) + number).requires_grad_()
        grad_y = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        cross.zero_grad()
        with backend(kind):
            y = cross(x)
            y.backward(grad_y)
        for c in range(3):
            scale, bias = cross.scale[c].item(), cross.bias[c].item()
            columns = (t[:, c].flatten().tolist() for t in (x, grad_y))
            wanted = reference(*columns, scale, bias, kept[c])
            found = y[:, c], x.grad[:, c], cross.scale.grad[c], cross.bias.grad[c]
            for value, target in zip(found, wanted, strict=True):
                torch.testing.assert_close(
                    value.detach().flatten(), torch.tensor(target, dtype=x.dtype).flatten()
                )
            statistics = cross.rolling_mean[c], cross.rolling_var[c]
            assert [float(s) for s in statistics] == pytest.approx(
                [kept[c]["mean"], kept[c]["var"]]
            )


def test_a_second_forward_of_the_same_mini_batch_changes_nothing(cross, image):
    x = [image(2, 3, 2, 3) * n for n in (1, 2)]
    cross(x[0])
    y = cross(x[1])
    before = {name: buffer.clone() for name, buffer in cross.named_buffers()}
    with rolling_pair("stays"):
        torch.testing.assert_close(cross(x[1]), y, rtol=0, atol=0)
    for name, buffer in cross.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_outside_training_it_is_ordinary(cross, image):
    x, other = image(2, 3, 2, 3), copy.deepcopy(cross).eval()
    y = other(x)
    rolling = cross.rolling_mean, cross.rolling_var, cross.scale, cross.bias
    torch.testing.assert_close(y, torch.nn.functional.batch_norm(x, *rolling).sigmoid())
    other.fuse()
    torch.testing.assert_close(other(x), y)
    assert not {"cross_mean", "cross_square", "cross_number"} & set(cross.state_dict())

"""[connected] against a matrix product."""

import pytest
import torch
import torch.nn.functional as F

from yolo.cfg import CfgError


def test_with_bias(layer, image):
    connected = layer("[connected]\noutput=5\nactivation=leaky", (2, 3, 4))
    x = image(3, 2, 3, 4)
    expected = F.leaky_relu(x.flatten(1) @ connected.weight.T + connected.bias, 0.1)
    torch.testing.assert_close(connected(x), expected[:, :, None, None])
    assert connected.out_shape == (5, 1, 1)


@pytest.mark.parametrize("training", [False, True], ids=["test", "train"])
def test_with_batch_norm(layer, image, training):
    connected = layer("[connected]\noutput=5\nbatch_normalize=1\nactivation=linear", (2, 3, 4))
    connected.train(training)
    mean, var = connected.rolling_mean.clone(), connected.rolling_var.clone()
    x = image(3, 2, 3, 4)
    z = x.flatten(1) @ connected.weight.T
    z = F.batch_norm(z, mean, var, connected.scale, connected.bias, training, 0.01, 1e-5)
    torch.testing.assert_close(connected(x)[:, :, 0, 0], z)
    torch.testing.assert_close(connected.rolling_var, var)


def test_gradients(layer, image):
    connected = layer("[connected]\noutput=3\nactivation=logistic", (2, 2, 2)).train()
    x = image(2, 2, 2, 2).requires_grad_()
    run = lambda x, *_: connected(x)  # noqa: E731
    assert torch.autograd.gradcheck(run, (x, *connected.parameters()))


def test_fused_equals_unfused(layer, image):
    connected = layer("[connected]\noutput=5\nbatch_normalize=1", (2, 3, 4)).eval()
    x = image(3, 2, 3, 4)
    expected = connected(x)
    connected.fuse()
    torch.testing.assert_close(connected(x), expected)


def test_statistics_follow_the_weights_in_the_file(layer):
    connected = layer("[connected]\noutput=2\nbatch_normalize=1", (1, 1, 3))
    assert [tuple(t.shape) for t in connected.stored()] == [(2,), (2, 3), (2,), (2,), (2,)]


def test_keeps_its_size(build):
    net = build("[connected]\noutput=2\n")
    with pytest.raises(CfgError, match="has weights for 192 inputs and cannot take 48"):
        net.resize(4, 4)
    assert net.input_shape == (3, 8, 8)


def test_refuses_a_matrix_beyond_the_limit(build):
    with pytest.raises(CfgError, match="needs 386,000,000,000 parameters"):
        build("[connected]\noutput=2000000000\n")

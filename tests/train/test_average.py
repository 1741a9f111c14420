"""ema_alpha against the rule computed in numbers."""

import pytest
import torch

from tests.train.small_run import network
from yolo.train.average import Average


def averaged(alpha=0.75, end=2008):
    net = network((("max_batches=100", f"max_batches={end}\nema_alpha={alpha}"),))
    return net, Average(net), net.layers[0].weight


def test_it_begins_in_the_middle_and_is_taken_over_a_thousand_before_the_end():
    net, average, weight = averaged()
    wanted, statistics = None, net.layers[0].rolling_mean.clone()
    for iteration in range(1000, 1012):
        value = float(iteration**2 % 7)
        weight.data.fill_(value)
        average.update(iteration)
        if iteration == 1004:
            wanted = value
        elif 1004 < iteration < 1008:
            wanted = 0.75 * wanted + 0.25 * value
        if iteration < 1004:
            assert not average.tensors
        else:
            torch.testing.assert_close(average.tensors["0.weight"], torch.full_like(weight, wanted))
        expected = wanted if iteration == 1008 else value
        torch.testing.assert_close(weight.detach(), torch.full_like(weight, expected))
    assert torch.equal(net.layers[0].rolling_mean, statistics)
    assert set(average.tensors) == {"0.weight", "0.bias", "0.scale", "2.weight", "2.bias"}


def test_without_alpha_there_is_none():
    _, average, _ = averaged(alpha=0)
    for iteration in range(1000, 1012):
        average.update(iteration)
    assert not average.tensors


def test_inside_the_network_holds_the_average_and_then_its_own_again():
    _, average, weight = averaged()
    weight.data.fill_(1.0), average.update(1004)
    weight.data.fill_(3.0)
    with pytest.raises(ZeroDivisionError), average.inside():
        assert (weight == 1).all()
        1 / 0  # noqa: B018
    assert (weight == 3).all()

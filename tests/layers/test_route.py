"""[route]: which channels come out, and what is refused."""

import pytest
import torch

from yolo.cfg import CfgError

TWO = "[conv]\nfilters=4\n[conv]\nfilters=6\n"


def test_joins_in_the_order_of_the_list(layer, image):
    route = layer(TWO + "[route]\nlayers=-1,0")
    a, b = image(2, 6, 8, 8), image(2, 4, 8, 8) + 1
    assert route.sources == [1, 0] and route.out_shape == (10, 8, 8)
    torch.testing.assert_close(route(a, b), torch.cat([a, b], 1))


def test_groups_take_a_part_of_each(layer, image):
    route = layer(TWO + "[route]\nlayers=0,1\ngroups=2\ngroup_id=1")
    a, b = image(2, 4, 8, 8), image(2, 6, 8, 8) + 1
    assert route.out_shape == (5, 8, 8)
    torch.testing.assert_close(route(a, b), torch.cat([a[:, 2:], b[:, 3:]], 1))


def test_gradients(layer, image):
    route = layer(TWO + "[route]\nlayers=0,1\ngroups=2\ngroup_id=0")
    inputs = image(1, 4, 2, 2).requires_grad_(), image(1, 6, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(route, inputs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layers=-4", "layers=-4 points before the first layer .this is layer 2"),
        ("layers=2", "layers=2 does not point to an earlier layer"),
        ("layers=7", "does not point to an earlier layer"),
        ("", "needs the key 'layers'"),
        ("layers=0\ngroups=3", "groups=3 does not divide the 4 channels of layer 0"),
        ("layers=0\ngroups=2\ngroup_id=2", "must be at most 1"),
    ],
)
def test_refusals(build, text, words):
    with pytest.raises(CfgError, match=words):
        build(f"{TWO}[route]\n{text}\n")


def test_sizes_must_agree(build):
    with pytest.raises(CfgError, match="whose height and width differ"):
        build("[conv]\n[maxpool]\nstride=2\n[route]\nlayers=0,1")

"""[contrastive]: a network with one runs, and says why it cannot be trained."""

import pytest
import torch

from yolo.cfg import CfgError

BODY = "[conv]\nfilters=8\n[contrastive]\nclasses=3\nyolo_layer=1\nstopbackward=0\n"


def test_runs_and_refuses_training(build, image):
    net = build(BODY).eval()
    x = image(1, 3, 8, 8)
    assert torch.equal(net(x)[0], net.outputs(x)[0])
    with pytest.raises(CfgError, match=r"test.cfg:\d+: \[contrastive\] cannot be trained"):
        net.loss(x, torch.zeros(0, 6))


@pytest.mark.parametrize("name", ["logistic", "l2norm", "iseg"])
def test_sections_that_are_not_built(build, name):
    with pytest.raises(CfgError, match=rf"\[{name}\] cannot be built: .*no network was published"):
        build(f"[conv]\n[{name}]\n")

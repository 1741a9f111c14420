"""[prelu] and [mtcnn]: shapes, values, keys."""

import pytest
import torch
import torch.nn.functional as F

from yolo.cfg import CfgError, parse, read
from yolo.gradcheck import check_network, failures
from yolo.network import Network


def test_prelu(layer, image):
    prelu, x = layer("[prelu]", (3, 4, 5)), image(2, 3, 4, 5)
    torch.testing.assert_close(prelu(x), F.prelu(x, prelu.slope))
    assert [t.shape for t in prelu.stored()] == [(3,)]


def test_prelu_begins_with_its_slope():
    net = Network(parse("[net]\nwidth=2\nheight=2\nchannels=4\n[prelu]\nslope=0.1\n"))
    assert net.layers[0].slope.tolist() == pytest.approx([0.1] * 4)


def test_gradients_of_a_stage(build):
    text = "[convolutional]\nfilters=4\nsize=3\nactivation=linear\n[prelu]\n[connected]\noutput=6\n"
    rows = check_network(build(text + "activation=linear\n[prelu]\n[mtcnn]\n", (3, 5, 5)))
    assert not failures(rows) and {"slope", "weight"} <= {row.tensor for row in rows}


def test_scores_are_probabilities(layer, image):
    x = image(2, 16, 3, 2)
    y = layer("[mtcnn]\nlandmarks=5", (16, 3, 2))(x)
    torch.testing.assert_close(y[:, :2], x[:, :2].softmax(1))
    assert torch.equal(y[:, 2:], x[:, 2:])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("landmarks=4", r"6 \+ 2 \* landmarks = 14"),
        ("hardest=1.5", "expected a share, 0 to 1"),
        ("box_scale=-1", "box_scale"),
    ],
)
def test_keys_that_do_not_fit(layer, text, words):
    with pytest.raises(CfgError, match=words):
        layer(f"[mtcnn]\n{text}", (6, 1, 1))


@pytest.mark.parametrize(("name", "values"), [("pnet", 6632), ("rnet", 100178), ("onet", 389040)])
def test_the_shipped_stages_have_the_published_sizes(cfg_folder, name, values):
    net = Network(read(cfg_folder / f"{name}.cfg", strict=True))
    assert sum(p.numel() for p in net.parameters()) == values
    assert net.layers[-1].out_shape[1:] == (1, 1)


def test_the_first_stage_takes_any_size(cfg_folder):
    net = Network(read(cfg_folder / "pnet.cfg")).eval()
    for height, width in ((12, 12), (13, 30), (37, 44)):
        y = net.resize(height, width)(torch.rand(1, 3, height, width))[0]
        assert y.shape == (1, 6, (height - 9) // 2, (width - 9) // 2)

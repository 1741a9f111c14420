"""[roi_align] and [roi_pool]: regions between layers, and what may follow them."""

import pytest
import torch

from yolo import ops
from yolo.cfg import CfgError

BEFORE = "[conv]\nfilters=3\nsize=3\nstride=4\npad=1\n[conv]\nfilters=5\n[rpn]\nanchors=9,9\n"
SHAPE = (3, 16, 24)


@pytest.mark.parametrize("name", ["roi_align", "roi_pool"])
def test_cuts_the_regions_out_of_the_map(build, image, name):
    text = f"{BEFORE}proposals=4\n[{name}]\nfeatures=0\nrois=2\nheight=2\nwidth=3"
    net = build(text, SHAPE).eval()
    outputs = net.outputs(image(2, 3, 16, 24))
    assert net.layers[-1].out_shape == (3, 2, 3) and outputs[-1].shape == (8, 3, 2, 3)
    function = getattr(ops, name)
    expected = function(outputs[0], outputs[2].flatten(1), (2, 3))
    torch.testing.assert_close(outputs[-1], expected)


def test_relative_numbers_and_defaults(build):
    net = build(BEFORE + "[roi_align]\nfeatures=-3\nrois=-1", SHAPE)
    assert net.layers[3].sources == [0, 2] and net.layers[3].size == (7, 7)
    assert net.layers[3].samples == 2


def test_any_layer_runs_on_regions(build, image):
    """An output for each region, batch normalisation over all of them."""
    text = (
        f"{BEFORE}proposals=6\n[roi_align]\nfeatures=0\nrois=2\nheight=4\nwidth=4\n"
        "[conv]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\n[maxpool]\nsize=2\nstride=2\n"
        "[shortcut]\nfrom=-1\n[dropout]\n[connected]\nbatch_normalize=1\noutput=7\n"
    )
    net = build(text, SHAPE)
    assert [layer.rows for layer in net.layers] == [1, 1] + [6] * 7
    assert net(image(2, 3, 16, 24))[0].shape == (12, 7, 1, 1)
    rows = net.summary_dict()["layers"]
    assert rows[-1]["rows"] == 6 and rows[-1]["bflops"] == pytest.approx(6 * 2 * 16 * 7 / 1e9)
    assert "x 6 regions" in net.summary()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[roi_align]\nfeatures=0\nrois=1", r"test.cfg:16: .*rois names layer 1, \[conv\]: an"),
        ("[roi_align]\nfeatures=0\nrois=9", "rois=9 does not point to an earlier layer"),
        ("[roi_align]\nrois=2", r"test.cfg:14: \[roi_align\] needs the key 'features'"),
        ("[roi_pool]\nfeatures=0", r"\[roi_pool\] needs the key 'rois'"),
        ("[roi_pool]\nfeatures=0,1\nrois=2", "features names 2 layers, one is needed"),
        ("[roi_pool]\nfeatures=2\nrois=2", "features names layer 2, whose output is regions"),
        ("[roi_pool]\nfeatures=0\nrois=2\nwidth=0", "width='0' must be at least 1"),
        ("[roi_align]\nfeatures=0\nrois=2\nsamples=0", "samples='0' must be at least 1"),
        ("[roi_pool]\nfeatures=0\nrois=2\nwidth=999\nheight=999", "300 regions of 3 x 999 x 999"),
        ("[roi_pool]\nfeatures=0\nrois=2\n[route]\nlayers=-1,0", "joins outputs of images with"),
        ("[roi_pool]\nfeatures=0\nrois=2\n[softmax]", r"\[softmax\] takes images, and the layer"),
        ("[roi_pool]\nfeatures=0\nrois=2\n[rnn]\noutput=2", r"\[rnn\] takes images"),
        ("[conv]\nfilters=5\n[rpn]\nanchors=1,1", r"\[rpn\] takes images"),
    ],
)
def test_refusals(build, text, message):
    with pytest.raises(CfgError, match=message):
        build(BEFORE + text, SHAPE)

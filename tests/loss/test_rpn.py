"""[rpn]: its loss against a plain PyTorch one in float64, anchor by anchor, and its sampling."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from tests.loss.cases import state
from yolo.cfg import parse
from yolo.loss.sampling import POSITIVE, Sampling, drawn
from yolo.network import Network

ANCHORS = ((16, 16), (40, 24), (90, 70))
STATE = state()
TRUTHS = torch.tensor(
    [
        [0, 2, 0.30, 0.40, 0.20, 0.25],
        [0, 0, 0.52, 0.31, 0.50, 0.36],
        [2, 1, 0.75, 0.70, 0.12, 0.15],
        [2, 1, 0.95, 0.90, 0.02, 0.03],  # its nearest anchor overlaps little, and is positive
    ],
    dtype=torch.float64,
)


def rpn(keys="", anchors=ANCHORS, size=(64, 80)):
    """The layer of an 80 x 64 input whose map has cells of 8 pixels."""
    height, width = size
    sides = ", ".join(f"{w},{h}" for w, h in anchors)
    text = (
        f"[net]\nchannels=1\nwidth={width}\nheight={height}\n[conv]\nsize=3\npad=1\nstride=8\n"
        f"filters={5 * len(anchors)}\n[rpn]\nanchors={sides}\n{keys}"
    )
    return Network(parse(text, "test.cfg")).layers[-1]


def overlap(a, b):
    """IoU of two boxes left, top, right, bottom."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    inter = width * height
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return inter / (area - inter)


def corners(x, y, w, h):
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def plain(x, truths, border=0.0, size=(64, 80), sigma=3.0, weights=(1.0, 1.0)):
    """The paper's loss of every anchor that is positive or negative, none being left to chance:
    (sum of the class losses, of the box losses) as tensors, image by image their means."""
    (height, width), (rows, cols) = size, x.shape[2:]
    class_loss = box_loss = x.new_zeros(())
    for image in range(len(x)):
        own = [t[2:].tolist() for t in truths if t[0] == image]
        value = x[image].view(len(ANCHORS), 5, rows, cols)
        judged = []  # place, anchor, overlaps
        for n, i, j in itertools.product(range(len(ANCHORS)), range(rows), range(cols)):
            w, h = ANCHORS[n]
            anchor = ((j + 0.5) / cols, (i + 0.5) / rows, w / width, h / height)
            left, top, right, bottom = corners(*anchor)
            reach_x, reach_y = border / width + 1e-6, border / height + 1e-6
            within = min(left + reach_x, top + reach_y) >= 0 and right <= 1 + reach_x
            if border < 0 or (within and bottom <= 1 + reach_y):
                found = [overlap(corners(*anchor), corners(*t)) for t in own]
                judged.append(((n, i, j), anchor, found))
        highest = [max(found[t] for _, _, found in judged) for t in range(len(own))]
        terms, boxes = [], []
        for (n, i, j), (ax, ay, aw, ah), found in judged:
            best = max(found, default=0.0)
            chief = any(o == top > 0 for o, top in zip(found, highest, strict=True))
            t = value[n, :, i, j]
            if best >= 0.7 or chief:
                terms.append(F.binary_cross_entropy_with_logits(t[4], torch.ones_like(t[4])))
                bx, by, bw, bh = own[found.index(best)]
                wanted = torch.tensor([(bx - ax) / aw, (by - ay) / ah, bw / aw, bh / ah]).to(x)
                wanted = torch.cat([wanted[:2], wanted[2:].log()])
                smooth = {"reduction": "sum", "beta": 1 / sigma**2}
                boxes.append(F.smooth_l1_loss(t[:4], wanted, **smooth))
            elif best < 0.3:
                terms.append(F.binary_cross_entropy_with_logits(t[4], torch.zeros_like(t[4])))
        class_loss = class_loss + weights[0] * sum(terms) / len(terms)
        box_loss = box_loss + weights[1] * sum(boxes) / len(terms)
    return class_loss, box_loss


def values(images=3, rows=8, cols=10):
    return torch.randn(images, 15, rows, cols, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("border", [0.0, 6.0, -1.0])
def test_equals_the_plain_loss(border):
    keys = "sample=100000\nfraction=1\nclass_normalizer=.7\nbox_normalizer=3\nsigma=2"
    layer, x = rpn(f"{keys}\nborder={border}"), values()
    found = layer.loss(x, TRUTHS, STATE)
    wanted = plain(x, TRUTHS, border, sigma=2.0, weights=(0.7, 3.0))
    assert found.terms["class_loss"] == pytest.approx(wanted[0].item(), rel=1e-5)
    assert found.terms["box_loss"] == pytest.approx(wanted[1].item(), rel=1e-5)
    assert found.cost == pytest.approx(sum(wanted).item(), rel=1e-5)
    (ours,) = torch.autograd.grad(found.total, x)
    (theirs,) = torch.autograd.grad(sum(wanted), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(found.delta, -theirs, rtol=1e-5, atol=1e-8)


def test_gradcheck():
    layer, x = rpn("sample=100000\nfraction=1\nborder=-1"), values(1, 2, 3)
    assert gradcheck(lambda t: layer.loss(t, TRUTHS[:2], STATE).total, x)


def test_images_without_a_truth_are_all_negative():
    layer, x = rpn("border=-1"), values(2)
    found = layer.loss(x, torch.zeros(0, 6), STATE)
    assert found.terms["box_loss"] == 0 and found.terms["class_loss"] > 0
    assert found.averages.positives == found.averages.objects == 0
    assert found.averages.judged == 2 * 240


def test_draws_256_of_them_half_positive():
    """Anchors all over the image, objects everywhere: enough of both kinds."""
    layer = rpn("border=-1\npositive_thresh=.3\nnegative_thresh=.3", ANCHORS[:1], (256, 256))
    grid = torch.cartesian_prod(torch.arange(16.0), torch.arange(16.0)) / 16 + 1 / 32
    keep = grid[:, 0] < 0.5
    truths = torch.cat([torch.zeros(256, 2), grid, torch.full((256, 2), 1 / 16)], 1)[keep]
    found = layer.loss(torch.randn(1, 5, 32, 32), truths, STATE)
    assert (found.averages.judged, found.averages.positives) == (256, 128)
    assert (found.delta.view(5, -1)[4] != 0).sum() == 256
    assert (found.delta.view(5, -1)[:4] != 0).any(0).sum() == 128


def test_negatives_fill_up_what_positives_leave():
    found = rpn("border=-1\nsample=50").loss(values(1), TRUTHS[:2], STATE)
    assert found.averages.judged == 50 and 2 <= found.averages.positives <= 25


def test_draws_are_even_and_repeat():
    mask = torch.tensor([True] * 20 + [False] * 20)
    counts = torch.zeros(40)
    for _ in range(2000):
        places = drawn(mask, 5)
        assert len(set(places.tolist())) == 5
        counts[places] += 1
    assert not counts[20:].any() and (counts[:20] - 500).abs().max() < 110  # 5.7 deviations
    torch.manual_seed(3)
    first = drawn(mask, 5)
    torch.manual_seed(3)
    assert torch.equal(first, drawn(mask, 5))


def test_regions_for_the_second_stage():
    """Proposals and truths; a quarter positive; an image never goes without a region."""
    sampling = Sampling(8, 0.25, 0.5, 0.5, 0.1)
    truth = torch.tensor([[0.2, 0.2, 0.4, 0.4]])
    near = truth + torch.linspace(0, 0.02, 30)[:, None]
    partly = truth + torch.linspace(0.08, 0.12, 30)[:, None]
    far = torch.tensor([[0.8, 0.8, 0.9, 0.9]])
    chosen = sampling.regions(torch.cat([near, partly, far]), truth)
    assert len(chosen) == 8
    assert (chosen[:2, 0] < 0.25).all() and (chosen[2:, 0] > 0.25).all()
    assert not (chosen == far).all(1).any()  # overlaps less than `lowest`
    assert torch.equal(sampling.regions(far, truth), truth)  # the truth itself is one
    nothing = torch.zeros(0, 4)
    assert torch.equal(sampling.regions(far, nothing), far)  # better than none
    assert sampling.regions(nothing, nothing).tolist() == [[0, 0, 1, 1]]
    labels = sampling.labels(torch.tensor([0.05, 0.1, 0.49, 0.5]))
    assert labels.tolist() == [-1, 0, 0, POSITIVE]

"""[mtcnn]'s loss against plain PyTorch, sample by sample, and its gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from yolo.cfg import CfgError, parse
from yolo.face_kinds import FaceKind
from yolo.loss.mtcnn import hardest
from yolo.network import Network


def head(text="landmarks=5", size=1):
    channels = 6 + (10 if "landmarks=5" in text else 0)
    net = f"[net]\nwidth={size}\nheight={size}\nchannels={channels}\n[mtcnn]\n{text}\n"
    return Network(parse(net, "test.cfg")).layers[0]


def samples(n=20, landmarks=5):
    """(x, truth): every kind, all values random."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, 6 + 2 * landmarks, 1, 1, generator=generator, dtype=torch.float64)
    truth = torch.randn(n, 5 + 2 * landmarks, generator=generator, dtype=torch.float64)
    truth[:, 0] = torch.arange(n) % (4 if landmarks else 3)
    return x.requires_grad_(), truth


def oracle(x, truth, scales, share):
    """The three losses by loops, differentiated by autograd."""
    x = x[:, :, 0, 0]
    faces, rest = [], []
    for row, true in zip(x, truth, strict=True):
        kind = int(true[0])
        if kind in (FaceKind.NEGATIVE, FaceKind.POSITIVE):
            label = torch.tensor([int(kind == FaceKind.POSITIVE)])
            faces.append(F.cross_entropy(row[None, :2], label))
        if kind in (FaceKind.POSITIVE, FaceKind.PART):
            rest.append(scales[1] * F.mse_loss(row[2:6], true[1:5], reduction="sum"))
        if kind == FaceKind.LANDMARK:
            rest.append(scales[2] * F.mse_loss(row[6:], true[5:], reduction="sum"))
    faces = sorted(faces, key=lambda loss: -loss.item())[: int(share * len(faces) + 1e-9)]
    return scales[0] * sum(faces) + sum(rest)


@pytest.mark.parametrize(
    ("text", "scales", "share"),
    [
        ("landmarks=5", (1, 0.5, 0.5), 0.7),
        ("landmarks=5\nlandmark_scale=1", (1, 0.5, 1), 0.7),
        ("landmarks=5\nface_scale=2\nbox_scale=3\nhardest=1", (2, 3, 0.5), 1.0),
        ("", (1, 0.5, 0), 0.7),
    ],
)
def test_against_pytorch(text, scales, share):
    x, truth = samples(landmarks=5 if "landmarks" in text else 0)
    found, expected = head(text).loss(x, truth, None), oracle(x, truth, scales, share)
    assert found.cost == pytest.approx(expected.item())
    assert sum(found.terms.values()) * len(x) == pytest.approx(found.cost)
    ours, theirs = (torch.autograd.grad(value, x)[0] for value in (found.total, expected))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(found.delta, -theirs)


def test_derivative():
    x, truth = samples(8)
    layer = head()
    assert gradcheck(lambda x: layer.loss(x, truth, None).total, x)


@pytest.mark.parametrize("kind", FaceKind)
def test_each_kind_moves_its_own_values(kind):
    x, truth = samples(4)
    truth[:, 0] = kind
    moved = head("landmarks=5\nhardest=1").loss(x, truth, None).delta[:, :, 0, 0].abs().sum(0) > 0
    parts = moved[:2].all().item(), moved[2:6].all().item(), moved[6:].all().item()
    assert moved.sum() == 2 * parts[0] + 4 * parts[1] + 10 * parts[2]
    assert parts == (kind <= 1, kind in (1, 2), kind == 3)


def test_what_a_kind_has_no_use_for_may_be_anything():
    x, truth = samples(4)
    truth[0, 1:] = torch.nan
    truth[1, 5:] = torch.inf
    found = head().loss(x, truth, None)
    assert torch.isfinite(found.delta).all() and found.cost < 1e6


def test_the_hardest_count():
    losses = torch.tensor([5.0, 1, 9, 2, 3, 4, 8, 7, 6, 0, 99])
    among = losses < 99
    assert losses[hardest(losses, among, 0.7)].tolist() == [5, 9, 3, 4, 8, 7, 6]
    assert hardest(losses, among, 0.01).sum() == 1
    assert hardest(losses, torch.zeros_like(among), 0.7).sum() == 0
    assert hardest(torch.ones(4), torch.ones(4) > 0, 0.5).tolist() == [True, True, False, False]


def test_a_batch_without_faces():
    x, truth = samples(3)
    truth[:, 0] = FaceKind.PART
    found = head().loss(x, truth, None)
    assert found.terms["face_loss"] == 0 and found.averages.objects == 0


def test_what_does_not_fit():
    x, truth = samples(3)
    with pytest.raises(ValueError, match=r"expected \(3, 15\)"):
        head().loss(x, truth[:, :5], None)
    with pytest.raises(CfgError, match=r"test.cfg:5: \[mtcnn\] training needs one answer"):
        head(size=2).loss(x.expand(3, 16, 2, 2), truth, None)

"""[softmax] and [cost]: outputs, losses and the gradients that Darknet sends back."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from yolo.cfg import CfgError

STATE = SimpleNamespace(options=SimpleNamespace(label_smooth_eps=0.0))


def test_probabilities(layer, image):
    softmax = layer("[softmax]\ngroups=2\ntemperature=2", (6, 1, 1))
    x = image(3, 6, 1, 1)
    parts = [torch.softmax(part / 2, 1) for part in x.chunk(2, 1)]
    torch.testing.assert_close(softmax(x), torch.cat(parts, 1))


def test_cross_entropy(layer, image):
    softmax = layer("[softmax]", (5, 1, 1))
    x, labels = image(3, 5, 1, 1).requires_grad_(), torch.tensor([0, 4, 2])
    loss = softmax.loss(x, labels, STATE)
    expected = F.cross_entropy(x.flatten(1), labels, reduction="sum")
    assert loss.cost == pytest.approx(expected.item())
    (ours,) = torch.autograd.grad(loss.total, x)
    (theirs,) = torch.autograd.grad(expected, x)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(loss.delta, -theirs)


def test_smoothed_labels_count_every_class(layer, image):
    state = SimpleNamespace(options=SimpleNamespace(label_smooth_eps=0.2))
    softmax = layer("[softmax]", (5, 1, 1))
    x = image(1, 5, 1, 1)
    loss = softmax.loss(x, torch.tensor([1]), state)
    target = torch.tensor([0.05, 0.8, 0.05, 0.05, 0.05], dtype=torch.float64)
    y = torch.softmax(x.flatten(), 0)
    torch.testing.assert_close(loss.delta.flatten(), target - y)
    assert loss.cost == pytest.approx(-y.log().sum().item())


def test_noloss(layer, image):
    softmax = layer("[softmax]\nnoloss=1", (5, 1, 1))
    x = image(2, 5, 1, 1).requires_grad_()
    loss = softmax.loss(x, torch.tensor([0, 1]), STATE)
    loss.total.backward()
    assert loss.cost == 0 and not x.grad.any()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.tensor([0, 5, 1]), "must lie in 0..4"),
        (torch.tensor([0, 1]), "do not fit 3 images with 5 classes"),
        (torch.zeros(3, 4), "do not fit 3 images with 5 classes"),
    ],
)
def test_labels_that_do_not_fit(layer, image, labels, words):
    with pytest.raises(ValueError, match=words):
        layer("[softmax]", (5, 1, 1)).loss(image(3, 5, 1, 1), labels, STATE)


def test_one_softmax_for_all_pixels_is_refused(build):
    with pytest.raises(CfgError, match="spatial is not available"):
        build("[softmax]\nspatial=1")


PARENTS = [-1, -1, -1, 0, 0, 3, 3, 2]  # three roots; 3, 4 below 0; 5, 6 below 3; 7 below 2
GROUPS = [(0, 1, 2), (3, 4), (5, 6), (7,)]


@pytest.fixture
def tree(tmp_path):
    path = tmp_path / "eight.tree"
    path.write_text("".join(f"class{i} {p}\n" for i, p in enumerate(PARENTS)))
    return path


def test_hierarchy_of_classes(layer, image, tree):
    """A label counts for the groups of its class and of those above it; others stay as they are."""
    softmax = layer(f"[softmax]\ntemperature=2\ntree={tree}", (8, 1, 1))
    x = image(3, 8, 1, 1)
    y = torch.zeros(3, 8, dtype=torch.float64)
    for group in GROUPS:
        y[:, group] = torch.softmax(x.flatten(1)[:, group] / 2, 1)
    torch.testing.assert_close(softmax(x).flatten(1), y)
    loss = softmax.loss(x, torch.tensor([6, 1, 7]), STATE)
    wanted, cost = torch.zeros_like(y), 0.0
    for row, path in enumerate([(6, 3, 0), (1,), (7, 2)]):
        for group in GROUPS:
            for c in group if set(group) & set(path) else ():
                wanted[row, c] = float(c in path) - y[row, c]
                cost -= float(y[row, c].log()) if c in path else 0
    torch.testing.assert_close(loss.delta.flatten(1), wanted)
    assert loss.cost == pytest.approx(cost)
    leaves = y[0, 6] * y[0, 3] * y[0, 0] + y[1, 1] + y[2, 7] * y[2, 2]
    assert loss.averages.classes == pytest.approx(float(leaves))


def test_an_answer_is_a_class_without_children(layer, tree):
    softmax = layer(f"[softmax]\ntree={tree}", (8, 1, 1))
    x = torch.zeros(1, 8, 1, 1, dtype=torch.float64)
    x[0, [0, 3, 5]] = 3.0
    assert softmax.loss(x, torch.tensor([5]), STATE).terms["right"] == 1
    assert softmax.loss(x, torch.tensor([0]), STATE).terms["right"] == 0


@pytest.mark.parametrize("kind", ["sse", "smooth", "masked"])
def test_cost(layer, image, kind):
    cost = layer(f"[cost]\ntype={kind}\nscale=2", (4, 1, 1))
    x = (2 * image(2, 4, 1, 1)).requires_grad_()
    truth = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1234, 1]])
    if kind != "masked":
        truth[1, 2] = 0
    loss = cost.loss(x, truth, STATE)
    distance = truth.double().view_as(x) - x.detach()
    if kind == "masked":
        distance[1, 2] = 0
    error, delta = distance**2, distance.clone()
    if kind == "smooth":
        far = distance.abs() >= 1
        error[far] = 2 * distance[far].abs() - 1
        delta[far] = distance[far].sign()
    assert loss.cost == pytest.approx(error.sum().item())
    loss.total.backward()
    torch.testing.assert_close(x.grad, -2 * delta)


def test_softmax_before_a_cost_hands_the_gradient_through(build, image):
    net = build("[connected]\noutput=4\nactivation=linear\n[softmax]\n[cost]\n")
    x = image(2, 3, 8, 8)
    labels = torch.tensor([1, 3])
    net.loss(x, labels).total.backward()
    y = net(x)[0].detach().flatten(1)
    delta = 2 * (F.one_hot(labels, 4) - y)  # one from each of the two losses
    torch.testing.assert_close(net.layers[0].bias.grad, -delta.sum(0))

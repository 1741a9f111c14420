"""Numbers of a Darknet run on micro networks, whose folder lies beside the checkout.

One folder a case: net.cfg, net.weights, golden.npz, after.weights. Outputs and deltas agree to
1e-4, gradients to 1e-3, losses and weights after the last step to 1e-2, all relative.
"""

import numpy as np
import pytest
import torch

from yolo import weights
from yolo.cfg import read
from yolo.network import Network
from yolo.ops import backend
from yolo.optimizer import DarknetSGD
from yolo.schedule import Schedule

CASES = (
    *("activations", "activations_rare", "classifier", "conv_variants", "iou_loss_ciou"),
    *("iou_loss_diou", "iou_loss_giou", "iou_loss_iou", "iou_loss_mse", "scaled_yolov4_micro"),
    *("schedule_sgdr", "schedule_steps", "shortcuts", "squeeze_excite_sam", "yolov3_tiny_micro"),
    *("yolov4_micro", "gaussian_yolo", "yolov2_region", "yolov1_detection"),
)

OUTPUT, GRADIENT, AFTER = 1e-4, 1e-3, 1e-2
# Darknet's names of accumulated gradients, and ours of the parameters
UPDATES = {"weight_updates": "weight", "bias_updates": "bias", "scale_updates": "scale"}


class Case:
    """One network with its weights, and the numbers to meet."""

    def __init__(self, folder):
        self.folder = folder
        self.numbers = np.load(folder / "golden.npz")
        self.net = Network(read(folder / "net.cfg"))
        weights.load(self.net, folder / "net.weights")
        self.x = torch.from_numpy(self.numbers["input"])
        truth = "boxes" if "boxes" in self.numbers else "labels"
        self.truth = torch.from_numpy(self.numbers[truth])

    def check(self, name, ours, bound):
        """Relative L2 distance from the number of that name."""
        wanted = self.numbers[name].astype(np.float64).ravel()
        ours = np.asarray(self.arranged(name, ours), np.float64).ravel()
        assert ours.shape == wanted.shape, name
        distance = np.linalg.norm(ours - wanted) / max(np.linalg.norm(wanted), 1e-12)
        assert distance <= bound, f"{self.folder.name} {name}: {distance:.2e} > {bound}"

    def arranged(self, name, ours):
        """The output of Darknet's [region] has the values of a box side by side."""
        _, layer, what = (name.split(".") + [""])[:3]
        region = self.net.layers[int(layer[1:])].section.name == "region"
        return torch.as_tensor(ours).movedim(1, -1) if region and what == "output" else ours

    def check_outputs(self, phase):
        with torch.no_grad():
            outputs = self.net.outputs(self.x)
        for index, output in enumerate(outputs):
            self.check(f"{phase}.L{index:03}.output", output, OUTPUT)


@pytest.fixture(params=CASES)
def folder(shared, request):
    """Each case in turn."""
    return shared / "golden" / request.param


@pytest.fixture(params=["native", "torch"])
def case(folder, request):
    """Each case on our kernels and on PyTorch's operators."""
    with backend(request.param):
        yield Case(folder)


def test_outputs(case):
    case.net.eval()
    case.check_outputs("test")


def test_training_outputs(case):
    case.net.train()
    case.check_outputs("step0")


def test_deltas_costs_and_gradients(case):
    net = case.net.train()
    total = 0.0
    for _ in range(net.options.subdivisions):  # the same mini-batch each time
        report = net.loss(case.x, case.truth)
        report.total.backward()
        total = total + report.cost / net.options.subdivisions
    for index, head in zip(report.indices, report.heads, strict=True):
        case.check(f"step0.L{index:03}.delta", head.delta, OUTPUT)
        case.check(f"step0.L{index:03}.cost", head.cost, OUTPUT)
    for name in case.numbers:
        *place, what = name.split(".")
        if what in UPDATES:
            parameter = getattr(net.layers[int(place[1][1:])], UPDATES[what])
            case.check(name, -parameter.grad, GRADIENT)
    assert total == pytest.approx(case.numbers["train.loss"][0], rel=OUTPUT)


# In three places the program that recorded the runs did what its CPU path does and not its GPU
# path: it left the bias of a [batchnorm] alone, did not limit the updates of [shortcut] weights,
# and moved the statistics of [connected] by 0.05. The first two are undone here for the run in
# question, the tensors of the third are left out of the comparison.
LEFT_OUT = {("classifier", "6.rolling_mean"), ("classifier", "6.rolling_var")}


@pytest.fixture
def run(folder, monkeypatch):
    """A case to be trained; on our kernels alone, since the optimiser's tests run the others."""
    case = Case(folder)
    if folder.name == "squeeze_excite_sam":
        case.net.layers[8].bias.requires_grad_(False)
    if folder.name == "shortcuts":
        monkeypatch.setattr("yolo.optimizer.SHORTCUT_LIMIT", 0.0)
    return case


def test_training(run):
    net, numbers = run.net.train(), run.numbers
    optimizer, schedule = DarknetSGD(net), Schedule(net.options)
    losses, rates = [], []
    for _ in numbers["train.loss"]:
        losses.append(0.0)
        for _ in range(net.options.subdivisions):
            net.seen += len(run.x)
            report = net.loss(run.x, run.truth)
            report.total.backward()
            losses[-1] += report.cost / net.options.subdivisions
        net.iteration += 1
        rates.append(schedule.rate(net.seen // net.options.effective_batch))
        optimizer.step(rates[-1])
    assert np.array_equal(np.float32(rates), numbers["train.rate"])
    np.testing.assert_allclose(losses, numbers["train.loss"], rtol=AFTER)
    check_weights(net, run.folder)


def check_weights(net, folder):
    """Every tensor as Darknet saved it after the last step."""
    after = Network(read(folder / "net.cfg"))
    weights.load(after, folder / "after.weights")
    assert net.seen == after.seen
    wanted = after.layers.state_dict()
    for name, ours in net.layers.state_dict().items():
        if (folder.name, name) not in LEFT_OUT:
            distance = (ours - wanted[name]).norm() / wanted[name].norm()
            assert distance <= AFTER, f"{folder.name} layer {name}: {distance:.2e}"

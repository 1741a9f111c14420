"""Networks as wholes: what ships, order and lifetime of outputs, freezing, resizing, fusing."""

import weakref

import pytest
import torch

import yolo
from yolo.cfg import CfgError, CfgWarning, parse, read
from yolo.network import Network
from yolo.ops import backend

# file: (bytes of its .weights, GFLOP, side for which they hold), as published
SHIPPED = {
    "yolov3": (248007048, 65.9, 416),
    "yolov3-tiny": (35434956, 5.56, 416),
    "yolov3-spp": (252209544, 141.5, 608),
    "yolov4": (257717640, 128.45, 608),
    "yolov4-tiny": (24251276, 6.91, 416),
    "yolov4-csp": (211944840, None, 512),
    "darknet53": (166582580, 18.57, 256),
    "darknet19": (83427124, 7.29, 256),
}

SMALL = """[net]
width=32
height=32
channels=3
batch=4
subdivisions=2
[conv]
batch_normalize=1
filters=4
size=3
pad=1
activation=leaky
[conv]
batch_normalize=1
filters=4
size=3
pad=1
activation=mish
[shortcut]
from=-2
[maxpool]
size=2
stride=2
[route]
layers=-1
groups=2
group_id=1
[conv]
filters=7
activation=linear
[yolo]
classes=2
"""


def small(*changes, seed=0):
    text = SMALL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return Network(parse(text, "small.cfg"), seed=seed)


@pytest.fixture
def x():
    return torch.rand(2, 3, 32, 32)


BOXES = torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.3], [1, 0, 0.2, 0.7, 0.2, 0.1]])


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.filterwarnings("error")
def test_shipped_networks_are_those_that_were_published(cfg_folder, name):
    size, gflop, side = SHIPPED[name]
    summary = Network(read(cfg_folder / f"{name}.cfg")).summary_dict()
    assert summary["weights_bytes"] == size
    assert summary["input"] == [3, side, side]
    if gflop:
        assert summary["bflops"] == pytest.approx(gflop, rel=2e-3)


def test_a_shipped_network_runs(cfg_folder):
    net = yolo.load(cfg_folder / "yolov4-tiny.cfg").resize(64, 96)
    with torch.no_grad():
        outputs = net(torch.rand(2, 3, 64, 96))
    assert [tuple(y.shape) for y in outputs] == [(2, 255, 2, 3), (2, 255, 4, 6)]


def test_outputs_of_every_layer(x):
    net = small().eval()
    outputs = net.outputs(x)
    shapes = [(2, *layer.out_shape) for layer in net.layers]
    assert [tuple(y.shape) for y in outputs] == shapes
    torch.testing.assert_close(net(x)[0], outputs[6])
    torch.testing.assert_close(outputs[2], outputs[0] + outputs[1])
    torch.testing.assert_close(outputs[4], outputs[3][:, 2:])


def test_backends_agree_in_outputs_and_gradients(x):
    grads = []
    for name in ("native", "torch"):
        net = small().train()
        with backend(name):
            net.loss(x, BOXES).total.backward()
        grads.append([p.grad for p in net.parameters()])
    for ours, theirs in zip(*grads, strict=True):
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


def test_an_output_is_dropped_after_its_last_reader(x):
    net, seen = small().eval(), {}

    def watch(index):
        def hook(module, inputs, output):
            seen[index] = weakref.ref(output)
            alive[index] = sorted(i for i, ref in seen.items() if ref() is not None)

        return hook

    alive = {}
    for layer in net.layers:
        layer.register_forward_hook(watch(layer.index))
    with torch.no_grad():
        net(x)
    assert alive[2] == [0, 1, 2]  # the shortcut still has its inputs
    assert 0 not in alive[3] and 1 not in alive[3]
    assert not {0, 1, 2} & set(alive[5])


def test_loss_reports_the_mean_over_heads_and_images(x):
    net = small(("[yolo]\nclasses=2", "[yolo]\nclasses=2\n[route]\nlayers=5\n[yolo]\nclasses=2"))
    report = net.train().loss(x, BOXES)
    assert report.indices == [6, 8]
    assert report.cost == pytest.approx(sum(head.cost for head in report.heads) / 2 / 2)
    report.total.backward()
    assert all(p.grad is not None for p in net.parameters())


def test_gradients_add_up_over_mini_batches(x):
    net = small().eval()
    net.loss(x, BOXES).total.backward()
    both = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    for i in range(2):
        boxes = BOXES[i : i + 1].clone()
        boxes[:, 0] = 0
        net.loss(x[i : i + 1], boxes).total.backward()
    torch.testing.assert_close([p.grad for p in net.parameters()], both, rtol=1e-4, atol=1e-5)


def test_seed_decides_the_initial_values():
    first, again, other = small(seed=1), small(seed=1), small(seed=2)
    assert torch.equal(first.layers[0].weight, again.layers[0].weight)
    assert not torch.equal(first.layers[0].weight, other.layers[0].weight)


def test_rolling_statistics_begin_at_zero():
    conv = small().layers[0]
    assert not conv.rolling_mean.any() and not conv.rolling_var.any()
    assert (conv.scale == 1).all() and not conv.bias.any()


@pytest.mark.parametrize(("height", "width"), [(64, 32), (16, 48), (32, 32)])
def test_resize(x, height, width):
    net = small().eval()
    net.resize(height, width)
    y = net.outputs(torch.rand(1, 3, height, width))
    assert [tuple(t.shape[1:]) for t in y] == [layer.out_shape for layer in net.layers]
    assert net.input_shape == (3, height, width)


def test_resize_that_does_not_fit_changes_nothing(x):
    net = small(("[maxpool]", "[upsample]\nstride=-4\n[maxpool]")).eval()
    with pytest.raises(CfgError, match=r"small.cfg:22: .* does not divide the input 30 x 32"):
        net.resize(30, 32)
    assert net.input_shape == (3, 32, 32) and net.layers[0].out_shape == (4, 32, 32)
    net(x)


def test_input_of_another_size(x):
    with pytest.raises(ValueError, match=r"small.cfg: the network takes \(N, 3, 32, 32\), got"):
        small()(torch.rand(1, 3, 64, 64))


def test_fused_gives_the_same(x):
    net = small().eval()
    for layer in net.layers[:2]:
        layer.rolling_mean.normal_()
        layer.rolling_var.uniform_(0.5, 2)
        layer.scale.data.uniform_(0.5, 2)
    fused = net.fused()
    torch.testing.assert_close(fused(x), net(x), rtol=1e-4, atol=1e-5)
    assert net.layers[0].batch_normalize and not fused.layers[0].batch_normalize


def test_stopbackward_freezes_what_lies_before(x):
    net = small(("from=-2", "from=-2\nstopbackward=1")).train()
    before = net.layers[0].rolling_mean.clone()
    net.loss(x, BOXES).total.backward()
    assert [p.requires_grad for p in net.layers[0].parameters()] == [False] * 3
    assert all(p.grad is None for p in net.layers[1].parameters())
    assert net.layers[5].weight.grad.any()
    assert torch.equal(net.layers[0].rolling_mean, before)


def test_stopbackward_with_a_number_ends(x):
    net = small(("from=-2", "from=-2\nstopbackward=5")).train()
    net.loss(x, BOXES).total.backward()
    assert net.layers[0].weight.grad is None and net.layers[0].rolling_mean.any()
    net.iteration = 5
    net.loss(x, BOXES).total.backward()
    assert net.layers[0].weight.grad.any()


def test_onlyforward_hands_no_gradient_on(x):
    net = small(("filters=7", "filters=7\nonlyforward=1")).train()
    report = net.loss(x, BOXES)
    assert not report.total.requires_grad
    net = small(("stride=2", "stride=2\nonlyforward=1")).train()
    net.loss(x, BOXES).total.backward()
    assert net.layers[0].weight.grad is None and net.layers[5].weight.grad.any()


def test_train_only_bn_moves_statistics_alone(x):
    net = small(("from=-2", "from=-2\ntrain_only_bn=1")).train()
    net.loss(x, BOXES).total.backward()
    assert net.layers[0].weight.grad is None and net.layers[0].rolling_mean.any()


def test_keys_that_every_layer_has():
    keys = {"learning_rate": 0.5, "clip": 2.0, "dont_update": 3, "burnin_update": 2}
    text = "".join(f"\n{key}={value}" for key, value in keys.items())
    layer = small(("from=-2", "from=-2" + text)).layers[2]
    assert {key: getattr(layer, key) for key in keys} == keys


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[net]", "[nett]", r"small.cfg:1: \[nett\] stands first, where \[net\] must"),
        ("[shortcut]", "[shortcutt]", r"\[shortcutt\] is not a known .* did you mean 'shortcut'"),
        (
            "[shortcut]",
            "[iseg]",
            r"\[iseg\] cannot be built",
        ),
        ("[shortcut]", "[net]", "must be the first section"),
        ("width=32", "width=0", "needs width, height and channels"),
        ("subdivisions=2", "subdivisions=0", "must be at least 1"),
        ("batch=4", "policy=steps", "policy=steps needs the keys steps and scales"),
        ("batch=4", "policy=steps\nsteps=1,2\nscales=.1", "has 2 steps but 1 scales"),
        ("batch=4", "policy=stepss", "did you mean 'steps'"),
        ("filters=7", "filters=8", "needs 7 channels"),
    ],
)
def test_refusals(old, new, words):
    with pytest.raises(CfgError, match=words):
        small((old, new))


def test_only_net():
    with pytest.raises(CfgError, match="the network has no layer"):
        Network(parse("[net]\nwidth=3\nheight=3\nchannels=3\n"))


def test_options_of_net():
    options = small(("batch=4", "batch=8\nmax_batches=70")).options
    assert (options.batch, options.mini_batch, options.effective_batch) == (8, 4, 8)
    assert (options.momentum, options.decay, options.sgdr_cycle) == (0.9, 0.0001, 70)
    assert (options.max_crop, options.min_crop, options.inputs) == (64, 32, 3072)


def test_a_batch_that_does_not_divide_is_told():
    with pytest.warns(CfgWarning, match="an iteration takes 8 images"):
        small(("batch=4", "batch=9"))


def test_summary_says_what_matters():
    net = small()
    text, content = net.summary(), net.summary_dict()
    assert "5 conv " in text and "Total BFLOPS" in text and "2 images at once" in text
    conv = content["layers"][1]
    assert conv["bflops"] == pytest.approx(2 * 9 * 4 * 4 * 32 * 32 / 1e9)
    assert conv["parameters"] == 4 * 4 * 9 + 2 * 4 and conv["stored"] == 4 * 4 * 9 + 4 * 4
    assert [layer["receptive_field"] for layer in content["layers"]] == [3, 5, 5, 6, 6, 6, 6]
    assert content["parameters"] == sum(p.numel() for p in net.parameters())
    assert content["training_bytes"] > 2 * 4 * sum(32 * 32 * 4 * 2 for _ in range(2))


def test_public_names():
    assert yolo.Network is Network and callable(yolo.load)
    assert yolo.ops.backend is backend
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        yolo.nothing  # noqa: B018

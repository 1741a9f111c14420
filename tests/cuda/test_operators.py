"""yolo.ops on the CUDA kernels, autograd and all; the emulator replaces the CPU kernels."""

import copy
import itertools
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map, tree_map_only

from tests.micro_net import HEAD
from yolo import cfg, ops
from yolo.network import Network
from yolo.ops import PrecisionError, ShapeError, precision, precision_for
from yolo.ops import update as updates
from yolo.ops.cuda import choose, operators
from yolo.ops.precision import WORDS, half_type
from yolo.ops.shapes import conv_shape
from yolo.optimizer import DarknetSGD
from yolo.train.scale import LossScale


def compare(function, *tensors, limit=1e-5):
    """function(*tensors), its value and gradients, against the PyTorch twin in float64."""
    exact = [t.detach().double().requires_grad_() for t in tensors]
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    with ops.backend("torch"):
        wanted = function(*exact)
    with torch.no_grad():
        values = function(*[t.detach() for t in leaves])
    got = function(*leaves)
    grad_y = torch.randn(wanted.shape).to(got)
    wanted.backward(grad_y.double())
    got.backward(grad_y)
    pairs = [(values, wanted), (got, wanted)]
    pairs += [(a.grad, b.grad) for a, b in zip(leaves, exact, strict=True)]
    for mine, theirs in pairs:
        error = (mine.double() - theirs).norm()
        assert error <= limit * theirs.norm() + 1e-30


def test_prelu(device):
    compare(ops.prelu, torch.randn(2, 5, 4, 3, device=device), torch.randn(5, device=device))


@pytest.mark.parametrize("name", WORDS["cuda"])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_conv2d(device, name, groups):
    limit = {"fp32": 1e-5, "tf32": 2e-3, "bf16": 1.2e-2, "fp16": 2e-3}[name]
    x, weight = (
        torch.randn(2, 8, 9, 7, device=device),
        torch.randn(16, 8 // groups, 3, 3).to(device),
    )
    weight = weight[:8] if groups == 8 else weight
    bias = torch.randn(weight.shape[0], device=device)
    with precision(name):
        compare(lambda x, w, b: ops.conv2d(x, w, b, 2, 1, 1, groups), x, weight, bias, limit=limit)
        compare(
            lambda x, w, b: ops.conv2d_act(x, w, b, "mish", 1, 1, 1, groups),
            x, weight, bias, limit=2 * limit,
        )  # fmt: skip


def test_conv2d_keeps_pixels_last(device):
    x = torch.randn(2, 8, 5, 5, device=device).to(memory_format=torch.channels_last)
    weight = torch.randn(16, 8, 3, 3, device=device)
    assert ops.conv2d(x, weight).is_contiguous(memory_format=torch.channels_last)
    with precision("bf16"):
        assert ops.conv2d(x, weight).is_contiguous(memory_format=torch.channels_last)


def test_conv2d_of_expanded_gradients(device):
    x = torch.randn(2, 3, 5, 5, device=device, requires_grad=True)
    weight = torch.randn(4, 3, 3, 3, device=device)
    ops.conv2d(x, weight, padding=1).sum().backward()
    wanted = torch.autograd.functional.vjp(
        lambda x: torch.nn.functional.conv2d(x, weight, padding=1),
        x,
        torch.ones(2, 4, 5, 5, device=device),
    )[1]
    torch.testing.assert_close(x.grad, wanted.to(x.grad))


def test_gradcheck(device):
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, device=device, requires_grad=True)
    weight = torch.randn(4, 3, 3, 2, dtype=torch.float64, device=device, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, device=device, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *a: ops.conv2d(*a, (2, 1), 1), (x, weight, bias))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["leaky", "mish", "selu"])
def test_batch_norm_act(device, training, name):
    x, scale, bias = torch.randn(3, 5, 4, 6), torch.randn(5), torch.randn(5)

    def run(x, scale, bias):
        rolling = torch.linspace(-1, 1, 5).to(x), torch.linspace(0.5, 2, 5).to(x)
        y = ops.batch_norm_act(x, scale, bias, *rolling, training, name)
        return torch.cat([y.flatten(), *rolling])

    compare(run, *(t.to(device) for t in (x, scale, bias)), limit=1e-5)
    compare(run, torch.randn(9, 5, device=device), scale.to(device), bias.to(device))


@pytest.mark.parametrize("name", WORDS["cuda"])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv_batch_norm_act(device, name, groups):
    """Statistics from the convolution's epilogue; 1024 pixels and 20 filters: nine tiles."""
    x, weight = torch.randn(3, 6, 17, 21, device=device), torch.randn(20, 6 // groups, 3, 3)
    scale, bias = torch.rand(20, device=device) + 0.5, torch.randn(20, device=device)
    limit = {"fp32": 1e-5, "tf32": 2e-3, "bf16": 1.5e-2, "fp16": 2e-3}[name]

    def run(x, weight, scale, bias):
        rolling = torch.linspace(-1, 1, 20).to(scale), torch.linspace(0.5, 2, 20).to(scale)
        y = ops.conv_batch_norm_act(
            x, weight, (scale, bias), rolling, True, "mish", (1, 1, 1, groups)
        )
        return torch.cat([y.flatten(), *rolling])

    with precision(name):
        compare(run, x, weight.to(device), scale, bias, limit=limit)


def test_bias_and_activation(device):
    x, bias = torch.randn(2, 3, 5, 4, device=device), torch.randn(3, device=device)
    compare(lambda x, b: ops.bias_act(x, b, "mish"), x, bias)
    for view in (x, x.transpose(1, 2), x[:, :, 1:], x.to(memory_format=torch.channels_last)):
        compare(lambda x: ops.activate(x, "swish"), view)


def test_pools(device):
    x = torch.randn(2, 5, 9, 7, device=device)
    for size, stride, padding in ((2, 2, None), (2, 1, None), (5, 1, 4), (3, 2, 0)):
        compare(lambda x, a=(size, stride, padding): ops.maxpool2d(x, *a), x)
    compare(ops.avgpool, torch.randn(2, 40, 9, 7, device=device))
    compare(ops.avgpool, torch.randn(1, 3, 1, 2, device=device))


def test_upsample_and_reorg(device):
    x = torch.randn(2, 16, 4, 6, device=device)
    for stride in (2, 3, -2):
        compare(lambda x, s=stride: ops.upsample(x, s, 0.5), x)
    for function, reverse in itertools.product((ops.reorg, ops.reorg3d), (False, True)):
        compare(lambda x, f=function, r=reverse: f(x, 2, r), x)


REGIONS = torch.tensor(
    [[0, 0.1, 0.2, 0.7, 0.9], [1, -0.3, -0.2, 0.4, 1.3], [1, 0.5, 0.5, 0.5, 0.5]]
)


def test_regions_of_interest(device):
    x, rois = torch.randn(2, 5, 9, 7, device=device), REGIONS.to(device)
    compare(lambda x: ops.roi_align(x, rois.to(x.dtype), (3, 4)), x)
    compare(lambda x: ops.roi_pool(x, rois.to(x.dtype), (3, 4)), x)


def test_linear(device):
    compare(ops.linear, *(torch.randn(*s, device=device) for s in ((3, 40), (7, 40), (7,))))


def test_runs_repeat_bit_for_bit(device):
    """Forward and backward of a block, twice: the same bits."""
    x, weight = torch.randn(3, 8, 9, 9, device=device), torch.randn(24, 8, 3, 3, device=device)
    results = []
    for _ in range(2):
        a, w = x.clone().requires_grad_(), weight.clone().requires_grad_()
        with precision("bf16"):
            y = ops.conv2d(a, w, padding=1)
            ones = torch.ones(24, device=device)
            y = ops.batch_norm_act(y, ones, ones, ones.clone(), ones.clone(), True, "mish")
            ops.maxpool2d(y, 2, 2).square().sum().backward()
        results.append((y.detach(), a.grad, w.grad))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def shape(groups=1, c=8, k=8):
    return conv_shape(
        torch.empty(1, c, 5, 5), torch.empty(k, c // groups, 3, 3), None, 1, 1, 1, groups
    )


def test_choice(monkeypatch):
    monkeypatch.delenv("YOLO_CONV", raising=False)
    single, double, half = torch.float32, torch.float64, torch.bfloat16
    assert choose(shape(), single, "fp32") == "im2col"  # never TF32 unasked
    assert choose(shape(), single, "tf32") == "implicit"
    assert choose(shape(), half, "bf16") == "implicit"
    assert choose(shape(c=3), half, "bf16") == "stem"
    assert choose(shape(c=3), half, "bf16", "grad_x") == "implicit"
    assert choose(shape(c=3), single, "tf32") == "implicit"
    assert choose(shape(), double, "bf16") == "im2col"
    assert choose(shape(groups=8), single, "fp32") == "depthwise"
    assert choose(shape(groups=2), half, "bf16") == "implicit"
    monkeypatch.setenv("YOLO_CONV", "implicit")
    assert choose(shape(), single, "fp32") == "implicit"
    for name, dtype, words in (
        ("wingorad", single, "choose from"),
        ("im2col", half, "float32 and float64"),
        ("implicit", double, "no float64"),
        ("depthwise", single, "groups = c = k"),
        ("stem", half, "r . s . c <= 32"),
    ):
        with pytest.raises(ValueError, match=words):
            choose(shape(), dtype, "fp32", forced=name)


def test_precision_is_of_the_block():
    assert precision.current == "exact"
    with precision("tf32"):
        assert precision.current == "tf32"
    assert precision.current == "exact"
    with pytest.raises(ValueError, match="unknown name"), precision("fp8"):
        pass


def test_words_of_the_devices():
    assert precision_for("cpu") == "fast" and precision_for("cuda") == "fp32"
    assert precision_for("cuda:0", "bf16") == "bf16"
    with pytest.raises(PrecisionError, match=r"cpu computes fast, exact.*tf32 is for cuda"):
        precision_for("cpu", "tf32")


def test_autocast_chooses_the_16_bit_type(monkeypatch):
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: device == "cuda")
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda device: torch.float16)
    assert half_type(torch.device("cuda")) is torch.float16
    assert half_type(torch.device("cpu")) is None


def test_cpu_kernels_refuse_16_bits():
    x = torch.randn(1, 8, 5, 5)
    with precision("bf16"), pytest.raises(ShapeError, match="16 bits are for CUDA"):
        ops.conv2d(x, torch.randn(8, 8, 3, 3))


BLOCKS = (
    """
[net]
width=16
height=16
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=1
pad=1
activation=mish
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[maxpool]
size=3
stride=1
[shortcut]
from=-2
activation=linear
[upsample]
stride=2
[route]
layers=-1,0
"""
    + HEAD
)


@pytest.fixture
def small(tmp_path, device):
    path = tmp_path / "small.cfg"
    path.write_text(BLOCKS)
    return Network(cfg.read(str(path))).to(device).train()


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_16_bits_from_end_to_end(small, device, name):
    """Activations have 16 bits, all that is kept has 32; gradients point where the twin's do."""
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}[name]
    x = torch.rand(2, 3, 16, 16, device=device)
    boxes = torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.3], [1, 0, 0.3, 0.6, 0.4, 0.2]], device=device)
    types = {}
    for layer in small.layers:
        layer.register_forward_hook(lambda m, a, y: types.__setitem__(m.index, y.dtype))

    def gradients():
        small.zero_grad()
        small.loss(x, boxes).total.backward()
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in small.parameters())
        return torch.cat([p.grad.flatten() for p in small.parameters()])

    with precision(name):
        got = gradients()
        heads = small(x)
    assert set(list(types.values())[:-1]) == {half} and types[7] == heads[0].dtype == torch.float32
    assert all(b.dtype == torch.float32 and b.isfinite().all() for b in small.buffers())
    with ops.backend("torch"):
        wanted = gradients()
    assert torch.cosine_similarity(got, wanted, 0) >= 0.999


def test_a_factor_saves_small_gradients_in_fp16(small, device):
    """A loss of a billionth: without the factor its gradients vanish on the way down."""
    x = torch.rand(2, 3, 16, 16, device=device)
    boxes = torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.3]], device=device)

    def gradients(scale):
        small.zero_grad()
        (scale * (small.loss(x, boxes).total * 2.0**-30)).backward()
        LossScale.undo(SimpleNamespace(value=scale), small)
        first = next(layer for layer in small.layers if hasattr(layer, "weight"))
        return first.weight.grad.flatten().clone()

    with precision("fp16"):
        without, got = gradients(1.0), gradients(2.0**20)
    with ops.backend("torch"):
        wanted = gradients(1.0)
    assert torch.cosine_similarity(got, wanted, 0) >= 0.999
    assert (without - wanted).norm() >= 0.5 * wanted.norm()


def test_the_update_in_one_call(small, monkeypatch):
    """Three updates beside PyTorch's operators: decay, momentum, a clip, a missing gradient."""
    small.layers[1].clip = 0.2
    twin = copy.deepcopy(small)
    fused, plain = DarknetSGD(small), DarknetSGD(twin)
    launches = []
    plain_update = operators.kernels().update
    monkeypatch.setattr(
        operators.kernels(), "update", lambda *a, **k: (launches.append(1), plain_update(*a, **k))
    )
    for step in range(3):
        for mine, theirs in zip(small.parameters(), twin.parameters(), strict=True):
            gradient = torch.randn_like(mine)
            mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        small.layers[0].bias.grad = twin.layers[0].bias.grad = None
        with monkeypatch.context() as patch:
            patch.setattr("yolo.ops.update._on_cpu", updates._on_cuda)
            before = small.layers[0].weight._version
            fused.step(0.1 + step, images=4, batch_number=step + 1)
            assert small.layers[0].weight._version > before
        with ops.backend("torch"):
            plain.step(0.1 + step, images=4, batch_number=step + 1)
        for mine, theirs in zip(small.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs)
            torch.testing.assert_close(fused.state[mine], plain.state[theirs])
    assert small.layers[1].weight.abs().max() == 0.2 and len(launches) == 3


def test_fake_results_lie_as_the_kernels_leave_them(device):
    """What torch.compile plans with: shapes, types and strides of every operator on CUDA."""
    x, weight, c = torch.randn(2, 8, 6, 4), torch.randn(16, 8, 3, 3), torch.rand(8)
    grad_y, at = torch.randn(2, 16, 6, 4), torch.zeros(2, 8, 3, 2, dtype=torch.int32)
    geometry = [1, 1], [1, 1], [1, 1], 1
    calls = {
        "conv2d_forward": (x, weight, None, *geometry, "mish"),
        "conv2d_statistics": (x, weight, *torch.rand(2, 16), 0.1, 1e-5, *geometry),
        "conv2d_grad_x": (grad_y, weight, [6, 4], *geometry),
        "conv2d_grad_weight": (grad_y, x, [3, 3], *geometry),
        "channel_sums": (x,),
        "bias_act_forward": (x, c, "leaky"),
        "bias_act_backward": (x, x, None, "leaky"),
        "batch_statistics": (x, c.clone(), c.clone(), 0.01, 1e-5),
        "norm_act_forward": (x, c, c, c, c, "swish", x),
        "norm_act_into": (torch.empty_like(x), x, c, c, c, c, "swish", x),
        "norm_act_backward": (x, x, c, c, c, c, True, "swish"),
        "conv2d_grad_norm_act": (grad_y, weight, *geometry, x, x, c, c, c, c, True, "swish"),
        "maxpool_forward": (x, [2, 2], [2, 2], [0, 0], True),
        "maxpool_backward": (torch.randn(2, 8, 3, 2), at, [6, 4], [2, 2], [2, 2], [0, 0]),
        "spp_forward": (x, [3, 5], [torch.empty_like(x), torch.empty_like(x)]),
        "spp_backward": (torch.zeros(1, 2, 6, 4, 8, dtype=torch.uint8), [3], [x], x),
        "avgpool_forward": (x,),
        "avgpool_backward": (torch.randn(2, 8, 1, 1), [6, 4]),
        "upsample": (x, 2, 0.5),
        "upsample_into": (torch.empty(2, 8, 12, 8), x, 2, 0.5),
        "reorg": (x, [2, 3, 2, 2], False),
        "prelu_forward": (x, c),
        "prelu_backward": (x, x, c),
        "roi_align_forward": (x, REGIONS, [3, 2], 2),
        "roi_align_backward": (torch.randn(3, 8, 3, 2), REGIONS, [2, 8, 6, 4], 2),
        "roi_pool_forward": (x, REGIONS, [3, 2]),
        "roi_pool_backward": (
            torch.randn(3, 8, 3, 2),
            REGIONS,
            torch.zeros(3, 8, 3, 2, dtype=torch.int32),
            [2, 8, 6, 4],
        ),
    }
    assert set(calls) == set(operators.IMPLEMENTATIONS)
    for name, dtype, last in itertools.product(calls, (torch.float32, torch.bfloat16), (0, 1)):

        def form(t, dtype=dtype, last=last):
            if not torch.is_tensor(t) or t.dim() != 4:
                return t
            t = t.to(dtype) if t.is_floating_point() else t
            return t.to(memory_format=torch.channels_last) if last else t

        def fake(t):
            return torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="cuda:0")

        given = tree_map(form, calls[name])
        here = tree_map_only(torch.Tensor, lambda t: t.to(device), given)
        got = operators.IMPLEMENTATIONS[name](*here)
        with FakeTensorMode():
            fakes = tree_map_only(torch.Tensor, fake, given)
            planned = getattr(torch.ops.yolo, name)(*fakes)
        if not isinstance(got, tuple):  # a tensor, or nothing
            got, planned = ([] if y is None else [y] for y in (got, planned))
        for real, fake in zip(got, planned, strict=True):
            assert (real.shape, real.dtype) == (fake.shape, fake.dtype), name
            assert real.stride() == fake.stride(), (name, dtype, last)


@pytest.mark.long
def test_a_whole_network(device, cfg_folder):
    """yolov3-tiny on small images: heads, and the gradient of every weight, near the twin's."""
    net = Network(cfg.read(str(cfg_folder / "yolov3-tiny.cfg"))).to(device).train()
    net.resize(64, 64)
    net.layout = "planar"  # tensors that stand for the GPU's lie on the CPU
    x = torch.rand(2, 3, 64, 64, device=device)

    def run():
        net.zero_grad()
        heads = [head.flatten() for head in net(x)]
        sum(head.square().mean() for head in heads).backward()
        return torch.cat(heads).detach(), [p.grad.clone() for p in net.parameters()]

    heads, grads = run()
    with ops.backend("torch"):
        wanted, wanted_grads = run()
    assert (heads - wanted).norm() <= 1e-3 * wanted.norm()
    for mine, theirs in zip(grads, wanted_grads, strict=True):
        cosine = torch.cosine_similarity(mine.flatten(), theirs.flatten(), 0)
        assert cosine >= 0.999 or theirs.norm() < 1e-6

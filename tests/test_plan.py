"""Inference plans against the same network in float64 through PyTorch's own operators."""

import pytest
import torch

import yolo
from yolo import _C
from yolo.cfg import parse
from yolo.network import Network
from yolo.ops import PrecisionError, backend
from yolo.plan import Plan
from yolo.plan.choose import PRECISIONS, Choice, candidates, limit_weights
from yolo.plan.graph import Graph, place

LEVELS = [name for name, _ in _C.packed.levels()]
HALF_LEVELS = [name for name, _ in _C.packed.levels("bf16")]
FAST = PRECISIONS["fast"]
NET = "[net]\nwidth={width}\nheight={height}\nchannels={channels}\nbatch=1\n"


def conv(filters, size=3, stride=1, act="leaky", more="", norm=1):
    return (
        f"[convolutional]\nbatch_normalize={norm}\nfilters={filters}\nsize={size}\n"
        f"stride={stride}\npad=1\nactivation={act}\n{more}\n"
    )


def settled(net):
    """The network with random statistics, so that every layer's output has some size."""
    generator = torch.Generator().manual_seed(3)
    for name, buffer in net.named_buffers():
        if name.endswith("rolling_var"):
            buffer.uniform_(0.5, 1.5, generator=generator)
        if name.endswith("rolling_mean"):
            buffer.normal_(0, 0.2, generator=generator)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(0, 0.2, generator=generator)
    return net.eval()


def network(body, channels=3, height=24, width=40):
    head = NET.format(width=width, height=height, channels=channels)
    return settled(Network(parse(head + body)))


@torch.no_grad()
def check(net, batch=2, limit=2e-5, **settings):
    """The plan's outputs are those of the network; a second run gives the same bits."""
    x = torch.rand(batch, *net.input_shape)
    plan = Plan(net, batch, threads=2, **settings)
    outputs = plan(x)
    with backend("torch"):
        expected = net.fused().double()(x.double())
    assert len(outputs) == len(expected)
    for y, wanted in zip(outputs, expected, strict=True):
        assert y.shape == wanted.shape
        error = (y.double() - wanted).norm() / wanted.norm()
        assert error <= limit, f"relative L2 {error:.2e}"
    for y, again in zip(outputs, plan(x), strict=True):
        assert torch.equal(y, again)
    return plan


YOLO = "[yolo]\nclasses=2\nanchors=10,14, 23,27\nnum=2\nmask=0,1\nscale_x_y=1.2\n"
BODIES = {
    "chain": conv(20) + conv(40, stride=2) + conv(37, 1, act="mish") + conv(9, 5, act="swish"),
    "residual": conv(32) + conv(16, 1) + conv(32) + "[shortcut]\nfrom=-3\nactivation=linear\n"
    + conv(32) + "[shortcut]\nfrom=-2\nactivation=leaky\n" + conv(8),
    "stages": conv(20) + conv(24, stride=2) + "[shortcut]\nfrom=-2\nactivation=relu\n"
    + conv(16, stride=2) + "[shortcut]\nfrom=-4\nactivation=linear\n" + conv(8),
    "concat": conv(24) + conv(20, 1) + conv(33) + "[route]\nlayers=-1,-2,-3,-1\n" + conv(7, 1)
    + "[route]\nlayers=-1,-2\n" + conv(10),
    "groups": conv(32) + "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n" + conv(16) + conv(16)
    + "[route]\nlayers=-1,-2\n" + conv(20, 1) + "[route]\nlayers=-6,-1\n"
    + "[route]\nlayers=-1\ngroups=4\ngroup_id=3\n" + conv(8),
    "grouped": conv(24) + conv(24, more="groups=24") + conv(36, more="groups=3")
    + conv(36, 3, 2, more="groups=36") + "[dropout]\nprobability=.4\n" + conv(8, 1),
    "depthwise residual": conv(24) + conv(24, more="groups=24", act="linear")
    + "[shortcut]\nfrom=-2\nactivation=linear\n" + conv(8),
    "spp": conv(20) + "[maxpool]\nstride=1\nsize=5\n[route]\nlayers=-2\n"
    "[maxpool]\nstride=1\nsize=9\n[route]\nlayers=-4\n[maxpool]\nstride=1\nsize=13\n"
    "[route]\nlayers=-1,-3,-5,-6\n" + conv(8, 1),
    "pools": conv(20) + "[maxpool]\nstride=2\nsize=2\n" + conv(18) + "[maxpool]\nstride=1\nsize=2\n"
    + conv(8) + "[upsample]\nstride=2\n[route]\nlayers=-1,0\n" + conv(8, 1),
    "heads": conv(20) + conv(14, 1, act="linear", norm=0) + YOLO + "[route]\nlayers=-3\n"
    + conv(16, stride=2) + conv(14, 1, act="linear", norm=0) + YOLO,
    "new coordinates": conv(20) + conv(14, 1, act="logistic", norm=0)
    + YOLO.replace("scale_x_y=1.2", "scale_x_y=2.0\nnew_coords=1"),
    "attention": conv(20) + "[avgpool]\n" + conv(8, 1, act="relu") + conv(20, 1, act="logistic")
    + "[scale_channels]\nfrom=-4\n" + conv(20, 1, act="logistic") + "[sam]\nfrom=-2\n" + conv(8),
    "dilated": conv(20) + conv(20, more="dilation=2") + conv(8, 3, 3),
    "classifier": conv(20) + "[maxpool]\nstride=4\nsize=4\n" + conv(12, 1, act="linear")
    + "[avgpool]\n[softmax]\ngroups=1\n",
    "connected": conv(8, 3, 4) + "[connected]\noutput=30\nactivation=relu\n"
    + "[connected]\noutput=5\nactivation=linear\n[softmax]\n",
    "region": conv(20) + conv(14, 1, act="linear", norm=0)
    + "[region]\nclasses=2\nanchors=1,1, 2,1\nnum=2\nsoftmax=1\n",
    "gaussian": conv(20) + conv(22, 1, act="linear", norm=0)
    + YOLO.replace("[yolo]", "[Gaussian_yolo]"),
    "detection": conv(8, 3, 4) + "[connected]\noutput=48\nactivation=linear\n"
    + "[detection]\nclasses=2\ncoords=4\nnum=2\nside=2\nsqrt=1\n",
    "image twice": conv(16) + "[route]\nlayers=-1\n" + conv(3, act="linear")
    + conv(6, 1, act="linear"),
}  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", BODIES)
def test_plan_computes_the_network(name, level):
    check(network(BODIES[name]), level=level)


@pytest.mark.parametrize("level", HALF_LEVELS)
@pytest.mark.parametrize("name", BODIES)
def test_plan_in_bf16(name, level):
    """Every layer rounds to 8 bits, its weights too: errors of 4e-3 a layer add up."""
    check(network(BODIES[name]), level=level, precision="bf16", limit=3e-2)


def test_bf16_keeps_half_the_memory_and_never_takes_f4(cfg_folder):
    net = settled(yolo.load(cfg_folder / "yolov4-tiny.cfg").resize(96, 96))
    half, exact = (
        Plan(net, precision=precision, level="portable" if precision == "bf16" else "")
        for precision in ("bf16", "exact")
    )
    kernels = {kernel for _, kernel, _ in half.rows}
    assert "winograd2" in kernels and "winograd4" not in kernels
    assert half.memory["arena"] < 0.7 * exact.memory["arena"]


def test_bf16_without_the_instruction_is_an_error(monkeypatch):
    monkeypatch.setenv("YOLO_ISA", "avx2")
    with pytest.raises(PrecisionError, match="no bf16 kernels for 'avx2'"):
        Plan(network(conv(8)), precision="bf16")


@pytest.mark.parametrize("level", LEVELS)
def test_many_channel_input(level):
    check(network(conv(20) + conv(8, 1), channels=35), batch=1, level=level)


@pytest.mark.parametrize("name", ["yolov4-tiny", "yolov3-tiny"])
def test_shipped_cfg(name, cfg_folder):
    net = settled(yolo.load(cfg_folder / f"{name}.cfg").resize(96, 64))
    plan = check(net, batch=1)
    assert {"stem", "max_pool", "copy"} <= {kernel for _, kernel, _ in plan.rows}


def test_exact_never_uses_winograd():
    net = network(conv(64) + conv(64) + conv(64))
    kernels = [kernel for _, kernel, _ in check(net, precision="exact", limit=3e-6).rows]
    assert kernels == ["stem", "direct", "direct", "unpack"]
    assert any("winograd" in kernel for _, kernel, _ in check(net).rows)


def test_what_runs_on_regions_runs_by_itself():
    """Behind a packed body: the batch of those layers is not the plan's."""
    body = (
        conv(20, stride=4)
        + conv(10, 1, act="linear", norm=0)
        + (
            "[rpn]\nanchors=8,8, 14,10\nproposals=6\n[roi_align]\nfeatures=0\nrois=2\nwidth=2\n"
            "height=2\n[connected]\noutput=11\nactivation=linear\n[fast_rcnn]\nrois=2\nclasses=2\n"
        )
    )
    text = check(network(body), limit=1e-4, precision="exact").describe()
    assert "4  fallback     an output for each region of interest" in text
    assert "2  fallback     no packed kernel" in text


def test_weight_limit_takes_smaller_forms():
    net = network(conv(64) + conv(64) + conv(64))
    sizes = []
    for limit in (None, 1 << 20, 0):
        plan = check(net, weight_limit=limit)
        sizes.append(plan.memory["weights"])
    assert sizes[0] > sizes[1] > sizes[2]
    assert "limit on weight memory" in plan.describe()


def test_residual_becomes_part_of_the_convolution():
    rows = check(network(BODIES["residual"])).rows
    assert [kernel for _, kernel, _ in rows].count("add") == 1  # only the one with an activation


def test_concatenation_is_written_in_place():
    net = network(conv(32) + conv(32, 1) + "[route]\nlayers=-1,-2\n" + conv(16, 1))
    assert "copy" not in [kernel for _, kernel, _ in check(net).rows]


def test_head_with_new_coordinates_has_a_kernel():
    rows = Plan(network(BODIES["new coordinates"])).rows
    assert "fallback" not in [kernel for _, kernel, _ in rows]


FALLBACKS = {
    "layer 2": (conv(8) + conv(8) + "[reorg3d]\nstride=2\n" + conv(8), "no packed kernel"),
    "activation": (conv(8) + conv(12, act="elu") + conv(8), "lack activation elu"),
    "first": ("[reorg3d]\nstride=2\n" + conv(8), "no packed kernel"),
    "last": (conv(8) + "[softmax]\n", "no packed kernel"),
    "two readers": (conv(8) + "[upsample]\nstride=-2\n[route]\nlayers=-1,-1\n" + conv(8),
                    "negative stride"),
    "in a row": (conv(8) + "[reorg3d]\nstride=2\n[reorg3d]\nstride=2\n" + conv(8),
                 "no packed kernel"),
    "depth": (conv(8) + "[maxpool]\nmaxpool_depth=1\nout_channels=4\n" + conv(8),
              "over channels"),
    "pixels": (conv(8) + conv(1) + "[scale_channels]\nfrom=-2\nscale_wh=1\n" + conv(8),
               "scales pixels"),
}  # fmt: skip


@pytest.mark.parametrize("name", FALLBACKS)
def test_layer_without_a_kernel_runs_by_itself_and_says_so(name):
    body, why = FALLBACKS[name]
    plan = check(network(body))
    rows = [(kernel, reason) for _, kernel, reason in plan.rows if kernel == "fallback"]
    assert rows and all(why in reason for _, reason in rows)
    assert why in plan.describe()
    assert all(ms >= 0 for _, _, ms in plan.profile(torch.rand(plan.shape), 1))


@pytest.mark.parametrize("kind", ["per_feature", "per_channel"])
@pytest.mark.parametrize("normalization", ["none", "relu", "softmax"])
@pytest.mark.parametrize("act", ["linear", "mish"])
def test_weighted_shortcut_has_kernels(kind, normalization, act):
    body = (
        conv(24) + conv(20) + conv(24) + f"[shortcut]\nfrom=-3,-2\nweights_type={kind}\n"
        f"weights_normalization={normalization}\nactivation={act}\n" + conv(8)
    )
    net = network(body)
    torch.nn.init.uniform_(net.layers[3].weight, -1, 2)
    assert "fallback" not in [kernel for _, kernel, _ in check(net).rows]


def test_batchnorm_and_activation_alone_have_kernels():
    net = network(conv(20) + "[batchnorm]\n[activation]\nactivation=mish\n" + conv(8))
    assert [kernel for _, kernel, _ in check(net).rows].count("depthwise") == 2


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("channels, filters, groups", [(64, 64, 2), (48, 96, 4), (64, 64, 16),
                                                      (24, 72, 24), (40, 20, 5)])  # fmt: skip
def test_grouped_convolution_reads_only_its_groups(level, channels, filters, groups):
    grouped = conv(filters, more=f"groups={groups}", act="linear")
    net = network(conv(channels) + grouped)
    plan = check(net, level=level)
    dense = check(network(conv(channels) + conv(filters, act="linear")), level=level)
    assert plan.memory["weights"] < dense.memory["weights"]


def test_wrong_shape_and_settings_are_refused():
    net = network(conv(8))
    with pytest.raises(ValueError, match=r"takes \(1, 3, 24, 40\), got \(2, 3, 24, 40\)"):
        Plan(net)(torch.rand(2, 3, 24, 40))
    with pytest.raises(ValueError, match="precision 'low' is none of fast, exact"):
        Plan(net, precision="low")
    with pytest.raises(ValueError, match="batch must be at least 1"):
        Plan(net, batch=0)


def test_buffers_alive_together_do_not_overlap():
    graph = Graph(8, 1)
    values = [graph.new(c, 5, 6) for c in (8, 30, 16, 9, 8)]
    for i, value in enumerate(values):
        graph.add(i, "x", "", values[max(0, i - 2) : i], value, None)
    total, offsets = place(graph, lambda value: value.blocks * 8 * 30)
    sizes = [value.blocks * 8 * 30 for value in values]
    assert total < sum(sizes)
    for i, a in enumerate(values):
        for j in range(i + 1, min(i + 3, len(values))):
            b = values[j]
            assert offsets[a] + sizes[i] <= offsets[b] or offsets[b] + sizes[j] <= offsets[a]


def test_weight_limit_gives_up_the_cheapest_bytes_first():
    cheap = Choice([(1.0, 100, "winograd4"), (1.1, 10, "direct")])
    dear = Choice([(1.0, 100, "winograd4"), (9.0, 10, "direct")])
    limit_weights([dear, cheap], 150)
    assert (dear.algorithm, cheap.algorithm) == ("winograd4", "direct")
    limit_weights([dear, cheap], 0)
    assert dear.algorithm == "direct"


def test_winograd_only_where_it_fits():
    same = {"dilation": (1, 1), "padding": (1, 1), "p": 20, "q": 20, "precision": FAST}
    three = candidates(1, 64, 64, (3, 3), (1, 1), **same)
    assert three.algorithm == "winograd4"
    assert candidates(1, 64, 64, (3, 3), (2, 2), **same).algorithm == "phases"
    assert candidates(1, 64, 64, (3, 3), (3, 3), **same).algorithm == "direct"
    assert candidates(1, 16, 64, (3, 3), (1, 1), **same).algorithm == "direct"
